"""The same networks and the same step, written as popular PyTorch code writes them.

This is the baseline: eager float32 in NCHW, power iteration at every forward pass, the whole N x N
attention map, 1x1 skips at the larger resolution (the published order), Adam with torch's defaults,
two D forward passes, gradients through G in D's step and into D in G's step. Parameters have the
shapes of ours and, except for spectral normalization's, their names, so that `copy_weights` can
give both networks the same outputs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from sagan.config import Config
from sagan.errors import SaganError
from sagan.nn.channels import (
    discriminator_channels,
    discriminator_feature_maps,
    generator_channels,
    generator_feature_maps,
    residual_discriminator_sizes,
    residual_generator_sizes,
)


class Attention(nn.Module):
    """Equations 1 to 3 of the paper, with the whole map."""

    def __init__(self, channels: int, form: str) -> None:
        super().__init__()
        value_channels = {"full": channels, "paper": channels // 8, "pooled": channels // 2}[form]
        bias = form == "full"
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=bias)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=bias)
        self.value = nn.Conv2d(channels, value_channels, 1, bias=bias)
        self.output: nn.Module = nn.Identity()
        if form != "full":
            self.output = nn.Conv2d(value_channels, channels, 1, bias=bias)
        self.pool = nn.MaxPool2d(2) if form == "pooled" else nn.Identity()
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        query = self.query(x).flatten(2).permute(0, 2, 1)  # (B, N, C/8)
        key = self.pool(self.key(x)).flatten(2)  # (B, C/8, M)
        value = self.pool(self.value(x)).flatten(2)  # (B, c, M)
        attention = torch.softmax(torch.bmm(query, key), dim=-1)  # (B, N, M)
        out = torch.bmm(value, attention.permute(0, 2, 1))  # (B, c, N)
        return self.gamma * self.output(out.view(len(x), -1, *x.shape[2:])) + x


class BatchNorm(nn.Module):
    """Batch norm, conditional if there are classes."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=not num_classes)
        if num_classes:
            self.gain = nn.Embedding(num_classes, channels)
            self.bias = nn.Embedding(num_classes, channels)
            nn.init.ones_(self.gain.weight)
            nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = self.norm(x)
        if labels is None:
            return x
        return x * self.gain(labels)[:, :, None, None] + self.bias(labels)[:, :, None, None]


class GeneratorBlock(nn.Module):
    """Norm, ReLU, upsampling, 3x3, norm, ReLU, 3x3; the skip upsamples, then convolves."""

    def __init__(self, in_channels: int, out_channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm1 = BatchNorm(in_channels, num_classes)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = BatchNorm(out_channels, num_classes)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, 2H, 2W)."""
        h = F.relu(self.norm1(x, labels))
        h = self.conv1(F.interpolate(h, scale_factor=2))
        h = self.conv2(F.relu(self.norm2(h, labels)))
        return h + self.skip(F.interpolate(x, scale_factor=2))


class ResidualGenerator(nn.Module):
    """Latents and labels -> images (B, 3, S, S)."""

    def __init__(self, config: Config, num_classes: int) -> None:
        super().__init__()
        channels = [config.channels_g * m for m in generator_channels("residual", config.shape)]
        self.sizes = residual_generator_sizes(config.shape)
        self.linear = nn.Linear(config.latent_size, channels[0] * 4 * 4)
        self.blocks = nn.ModuleList(
            GeneratorBlock(c_in, c_out, num_classes) for c_in, c_out in pairwise(channels)
        )
        maps = generator_feature_maps("residual", config.shape, config.channels_g)
        self.self_attention = attention_layers(config.attention_g, maps, config.attention_form)
        self.norm = nn.BatchNorm2d(channels[-1])
        self.to_rgb = nn.Conv2d(channels[-1], 3, 3, padding=1)
        if config.spectral_norm_g:
            normalize(self, (nn.Conv2d, nn.Linear), config.spectral_norm_eps)

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        x = self.linear(latents).view(len(latents), -1, 4, 4)
        for size, block in zip(self.sizes, self.blocks, strict=True):
            x = block(x, labels)
            if str(size) in self.self_attention:
                x = self.self_attention[str(size)](x)
        return torch.tanh(self.to_rgb(F.relu(self.norm(x))))


class DiscriminatorBlock(nn.Module):
    """3x3, ReLU, 3x3, mean pooling; the skip convolves, then pools; the first one's pools first."""

    def __init__(self, in_channels: int, out_channels: int, first: bool, downsample: bool) -> None:
        super().__init__()
        self.first = first
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.pool = nn.AvgPool2d(2) if downsample else nn.Identity()
        self.skip: nn.Module = nn.Identity()
        if downsample or in_channels != out_channels:
            self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W), or H/2 x W/2."""
        h = x if self.first else F.relu(x)
        h = self.pool(self.conv2(F.relu(self.conv1(h))))
        return h + (self.skip(self.pool(x)) if self.first else self.pool(self.skip(x)))


class ResidualDiscriminator(nn.Module):
    """Images (B, 3, S, S) and labels -> logits (B,)."""

    def __init__(self, config: Config, num_classes: int) -> None:
        super().__init__()
        channels = [config.channels_d * m for m in discriminator_channels(config.shape)]
        self.sizes = residual_discriminator_sizes(config.shape)
        sides = [config.resolution, *self.sizes]
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(c_in, c_out, i == 0, downsample=sides[i + 1] < sides[i])
            for i, (c_in, c_out) in enumerate(pairwise([3, *channels]))
        )
        maps = discriminator_feature_maps("residual", config.shape, config.channels_d)
        self.self_attention = attention_layers(config.attention_d, maps, config.attention_form)
        self.linear = nn.Linear(channels[-1], 1)
        if num_classes:
            self.embedding = nn.Embedding(num_classes, channels[-1])
        if config.spectral_norm_d:
            kinds = (nn.Conv2d, nn.Linear, nn.Embedding)
            normalize(self, kinds, config.spectral_norm_eps)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        x, seen = images, set()
        for size, block in zip(self.sizes, self.blocks, strict=True):
            x = block(x)
            if str(size) in self.self_attention and size not in seen:
                x = self.self_attention[str(size)](x)
            seen.add(size)
        features = F.relu(x).sum(dim=(2, 3))
        logits = self.linear(features).squeeze(1)
        if labels is not None:
            logits = logits + (self.embedding(labels) * features).sum(dim=1)
        return logits


class DCGANGenerator(nn.Module):
    """Latents -> images (B, 3, 64, 64)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        maps = generator_feature_maps("dcgan", config.shape, config.channels_g)
        self.sizes, widths = list(maps), list(maps.values())
        self.layers = nn.ModuleList([nn.ConvTranspose2d(config.latent_size, widths[0], 4)])
        for c_in, c_out in pairwise(widths):
            self.layers.append(nn.ConvTranspose2d(c_in, c_out, 4, 2, 1))
        if config.spectral_norm_g:
            normalize(self, (nn.ConvTranspose2d,), config.spectral_norm_eps)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in widths)
        self.self_attention = attention_layers(config.attention_g, maps, config.attention_form)
        self.to_rgb = nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1)

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        x = latents.view(*latents.shape, 1, 1)
        for size, layer, norm in zip(self.sizes, self.layers, self.norms, strict=True):
            x = F.relu(norm(layer(x)))
            if str(size) in self.self_attention:
                x = self.self_attention[str(size)](x)
        return torch.tanh(self.to_rgb(x))


class DCGANDiscriminator(nn.Module):
    """Images (B, 3, 64, 64) -> logits (B,)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        maps = discriminator_feature_maps("dcgan", config.shape, config.channels_d)
        self.sizes, widths = list(maps), [3, *maps.values()]
        self.layers = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 4, 2, 1) for c_in, c_out in pairwise(widths)
        )
        if config.spectral_norm_d:
            normalize(self, (nn.Conv2d,), config.spectral_norm_eps)
        self.self_attention = attention_layers(config.attention_d, maps, config.attention_form)
        self.last = nn.Conv2d(widths[-1], 1, 4)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        x = images
        for size, layer in zip(self.sizes, self.layers, strict=True):
            x = F.leaky_relu(layer(x), 0.1)
            if str(size) in self.self_attention:
                x = self.self_attention[str(size)](x)
        return self.last(x).flatten()


def attention_layers(sizes: tuple[int, ...], maps: dict[int, int], form: str) -> nn.ModuleDict:
    """Return attention layers for some sides of `maps` ({side: channels})."""
    return nn.ModuleDict({str(size): Attention(maps[size], form) for size in sizes})


def normalize(network: nn.Module, kinds: tuple[type[nn.Module], ...], eps: float) -> None:
    """Apply torch's spectral norm to layers of these kinds, except in conditional batch norm."""
    tables = {
        t for norm in network.modules() if isinstance(norm, BatchNorm) for t in norm.modules()
    }
    for layer in network.modules():
        if isinstance(layer, kinds) and layer not in tables:
            spectral_norm(layer, eps=eps)


def build(config: Config, num_classes: int) -> tuple[nn.Module, nn.Module]:
    """Return the naive generator and discriminator of a configuration.

    Raises:
        SaganError: its family has no naive networks.
    """
    if config.family == "projected":
        raise SaganError(
            "there is no naive code for the projected family: compare another preset, such as "
            "classic-32"
        )
    if config.family == "dcgan":
        return DCGANGenerator(config), DCGANDiscriminator(config)
    classes = num_classes if config.conditional else 0
    return ResidualGenerator(config, classes), ResidualDiscriminator(config, classes)


@torch.no_grad()
def copy_weights(ours: nn.Module, naive: nn.Module) -> None:
    """Copy weights, statistics, u and v of our network, unfolded, into a naive one."""
    own = naive.state_dict()
    for name, tensor in ours.state_dict().items():
        name = name.replace("parametrizations.weight.original", "weight_orig")
        name = name.replace("parametrizations.weight.0.", "weight_")
        layer = naive.get_submodule(name.rpartition(".")[0])
        if name.endswith("weight_v") and isinstance(layer, nn.Conv2d):
            # Our v is ordered (h, w, in), torch's (in, h, w).
            tensor = tensor.view(*layer.kernel_size, -1).permute(2, 0, 1).flatten()
        own.pop(name).copy_(tensor)
    assert not own, f"ours has no {list(own)}"


@dataclass(frozen=True)
class Batch:
    """Real images float (B, 3, S, S) in [-1, 1] and labels int64 (B,), or None."""

    images: Tensor
    labels: Tensor | None


class Naive:
    """Training of the naive networks.

    Args:
        config: what to train.
        num_classes: of the data.
        batches: real images, as a data loader returns them, on the device.
        device: where to train; by default on the CPU.
    """

    def __init__(
        self,
        config: Config,
        num_classes: int,
        batches: Iterator[Batch],
        device: torch.device | None = None,
    ) -> None:
        self.config = config
        self.num_classes = num_classes
        self.batches = batches
        self.device = device
        self.generator, self.discriminator = (
            network.to(device) for network in build(config, num_classes)
        )
        betas = (config.beta1, config.beta2)
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), config.lr_g, betas)
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), config.lr_d, betas)

    def step(self) -> None:
        """Update D `d_steps` times and G once, with the hinge loss."""
        for _ in range(self.config.d_steps):
            self.update_discriminator(next(self.batches))
        self.update_generator()

    def update_discriminator(self, real: Batch) -> None:
        logits = self.discriminator(real.images, real.labels)
        loss_real = F.relu(1 - logits).mean()
        fake = self.fake()
        logits = self.discriminator(fake.images, fake.labels)
        loss = loss_real + F.relu(1 + logits).mean()
        self.zero_grad()
        loss.backward()
        self.optimizer_d.step()

    def update_generator(self) -> None:
        fake = self.fake()
        loss = -self.discriminator(fake.images, fake.labels).mean()
        self.zero_grad()
        loss.backward()
        self.optimizer_g.step()

    def fake(self) -> Batch:
        """Return a batch of generated images, with gradients to G."""
        size = self.config.batch_size
        latents = torch.randn(size, self.config.latent_size, device=self.device)
        labels = None
        if self.config.conditional:
            labels = torch.randint(self.num_classes, (size,), device=self.device)
        return Batch(self.generator(latents, labels), labels)

    def zero_grad(self) -> None:
        self.optimizer_d.zero_grad()
        self.optimizer_g.zero_grad()
