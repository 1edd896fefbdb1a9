"""The residual generator and discriminator of SAGAN, from primitives to networks.

The layouts are those of Zhang et al. 2018 (arXiv 1805.08318) and its released code for 128 x 128,
and of StudioGAN (Kang et al. 2023) for 32, 64 and 256; `channels.py` has them. Conditional batch
norm follows Dumoulin et al. 2017 with plain (not spectrally normalized) embeddings, the projection
discriminator Miyato & Koyama 2018.
"""

from contextlib import nullcontext
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.images.shape import Colors, ImageShape, Resolution
from sagan.nn.attention_blocks import AttentionSpec, attention_blocks
from sagan.nn.base import DiscriminatorBase, GeneratorBase
from sagan.nn.channels import (
    discriminator_channels,
    discriminator_feature_maps,
    generator_channels,
    generator_feature_maps,
    generator_start,
    residual_discriminator_sizes,
    residual_generator_sizes,
)
from sagan.nn.convolution import Conv2d
from sagan.nn.initialization import (
    Initializer,
    initialize_layers,
    named_random_state,
)
from sagan.nn.inputs import (
    check_forward_images,
    check_forward_labels,
    check_forward_latents,
    check_network_arguments,
    check_whole,
)
from sagan.nn.label_projection import class_logits, label_weight
from sagan.nn.norms import (
    BatchNorm2d,
    SelfModulation,
    UnconditionalBatchNorm2d,
    batch_norm,
    tables_of_norms,
)
from sagan.nn.precision import wide_dtype
from sagan.nn.resampling import add_upsampled, convolve_downsample, upsample_convolve
from sagan.nn.spectral_norm import (
    SpectralSpec,
    apply_spectral_norm,
)


def initialize(network: nn.Module, initializer: Initializer, seed: int | None = None) -> None:
    """Initialize, in place, the weights of all convolutions, linear layers and embeddings.

    Their biases are set to 0. The tables of conditional batch norm keep their own initial values: a
    gain of 1 and a bias of 0.

    Args:
        network: the network.
        initializer: sets each weight.
        seed: makes each weight a function of the seed, the network's class and the layer's name,
            so that networks that differ in a layer have the same weights in all others; None to
            draw one after another from torch's global random state.
    """
    tables = set(tables_of_norms(network))
    for name, layer in network.named_modules():
        if layer in tables:
            continue
        full_name = f"{type(network).__name__}.{name}"
        with named_random_state(seed, full_name) if seed is not None else nullcontext():
            if isinstance(layer, SelfModulation):
                layer.reset()
            else:
                initialize_layers((layer,), initializer)


class GeneratorBlock(nn.Module):
    """x + F(x) at twice the resolution: norm, ReLU, upsample, 3x3, norm, ReLU, 3x3."""

    def __init__(
        self, in_channels: int, out_channels: int, num_classes: int, modulated_by: int = 0
    ) -> None:
        super().__init__()
        self.norm1 = batch_norm(num_classes, in_channels)
        self.conv1 = Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm2 = batch_norm(num_classes, out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        self.modulation1: nn.Module | None = None
        self.modulation2: nn.Module | None = None
        if modulated_by:
            self.modulation1 = SelfModulation(modulated_by, in_channels)
            self.modulation2 = SelfModulation(modulated_by, out_channels)

    def forward(self, x: Tensor, labels: Tensor | None, latents: Tensor | None = None) -> Tensor:
        """(B, C_in, H, W), labels (B,), latents (B, modulated_by) -> (B, C_out, 2H, 2W)."""
        first = self.modulation1(latents) if self.modulation1 is not None else None
        h = F.relu(self.norm1(x, labels, first), inplace=True)
        h = upsample_convolve(h, self.conv1.weight, self.conv1.bias)
        second = self.modulation2(latents) if self.modulation2 is not None else None
        h = F.relu(self.norm2(h, labels, second), inplace=True)
        # A 1x1 convolution commutes with nearest upsampling and costs a quarter before it.
        return add_upsampled(self.conv2(h), self.skip(x))

    def fold_norms(self) -> None:
        """Fold norm2 into conv1, for inference, unless it depends on labels."""
        if isinstance(self.norm2, UnconditionalBatchNorm2d):
            self.norm2.fold_into(self.conv1)


class Generator(GeneratorBase):
    """Latents (B, latent_size) and labels (B,) -> images (B, C, H, W) in [-1, 1].

    With attention at 16 x 16: `Generator(32, width=64, attention=AttentionSpec(sizes=(16,)))`.

    Args:
        resolution: side of the images in pixels; `sagan.nn.channels` has the layouts.
        width: channels that the layout multiplies.
        latent_size: length of a latent vector.
        num_classes: number of labels; 0 for unconditional.
        attention: the feature maps that self-attention follows, by their side; None for no
            attention.
        spectral_norm: how every convolution and linear layer is normalized; None for no
            normalization.
        initializer: sets each weight, in place, before it is normalized.
        seed: makes each initial weight a function of seed and layer, whatever other layers there
            are; None to draw one after another from torch's global random state.
        colors: of the images: "rgb", "gray" or "rgba", which are C = 3, 1 or 4 channels.

    Raises:
        ValueError: the resolution has no layout, attention is at a size that no block
            outputs or on fewer than 8 channels, its form, backend or block is unknown, or a
            number is too small.
        TypeError: an argument is of another type.
    """

    family = "residual"
    self_modulated = False  # whether latents also decide the gains and biases of batch norms

    def __init__(
        self,
        resolution: Resolution,
        width: int,
        latent_size: int = 128,
        num_classes: int = 0,
        attention: AttentionSpec | None = None,
        spectral_norm: SpectralSpec | None = SpectralSpec(),
        initializer: Initializer = nn.init.orthogonal_,
        seed: int | None = None,
        colors: Colors = "rgb",
    ) -> None:
        super().__init__()
        self.shape = ImageShape.of(resolution, colors)
        check_network_arguments(
            self.family, self.shape, width, num_classes, spectral_norm, initializer
        )
        check_whole(latent_size=latent_size)
        self.latent_size = latent_size
        self.num_classes = num_classes
        channels = [width * multiple for multiple in generator_channels(self.family, self.shape)]
        self.sizes = residual_generator_sizes(self.shape)

        self.start = generator_start(self.shape)
        self.linear = nn.Linear(latent_size, channels[0] * self.start[0] * self.start[1])
        self.blocks = nn.ModuleList(
            GeneratorBlock(c_in, c_out, num_classes, latent_size if self.self_modulated else 0)
            for c_in, c_out in pairwise(channels)
        )
        maps = generator_feature_maps(self.family, self.shape, width)
        self.self_attention = attention_blocks(attention, maps)
        self.norm = BatchNorm2d(channels[-1])
        self.to_rgb = Conv2d(channels[-1], self.shape.channels, kernel_size=3, padding=1)

        initialize(self, initializer, seed)
        if spectral_norm is not None:
            apply_spectral_norm(self, (nn.Conv2d, nn.Linear), spectral_norm.eps)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (B, latent_size), labels int64 (B,) or None -> images (B, C, H, W) in [-1, 1].

        Raises:
            ValueError: latents or labels have another shape or dtype, or labels are missing or
                superfluous.
        """
        check_forward_latents(latents, self.latent_size)
        check_forward_labels(labels, latents, self.num_classes)
        x = self.linear(latents).unflatten(1, (-1, *self.start))  # the first map
        x = x.contiguous(memory_format=torch.channels_last)
        for size, block in zip(self.sizes, self.blocks, strict=True):
            x = block(x, labels, latents)  # (B, C, ...), its shorter side has `size` cells
            if str(size) in self.self_attention:
                x = self.self_attention[str(size)](x)
        x = F.relu(self.norm(x), inplace=True)
        return torch.tanh(self.to_rgb(x))

    def fold_norms(self) -> None:
        for block in self.blocks:
            block.fold_norms()  # type: ignore[operator]


class FirstDiscriminatorBlock(nn.Module):
    """F(x) + skip(x) at half the resolution, without a ReLU on the image itself."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.conv2 = Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H/2, W/2)."""
        h = F.relu(self.conv1(x), inplace=True)
        h = convolve_downsample(h, self.conv2.weight, self.conv2.bias)
        return h.add_(self.skip(F.avg_pool2d(x, 2)))


class DiscriminatorBlock(nn.Module):
    """F(x) + skip(x), at half the resolution if `downsample`: ReLU, 3x3, ReLU, 3x3, mean pool.

    With `rectified_skip` the skip gets ReLU(x): see `Discriminator`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, downsample: bool, rectified_skip: bool = False
    ) -> None:
        super().__init__()
        self.rectified_skip = rectified_skip
        self.conv1 = Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.conv2 = Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.downsample = downsample
        self.skip: nn.Module = nn.Identity()
        if downsample or in_channels != out_channels:
            self.skip = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W), or H/2 x W/2."""
        # The first ReLU is not in place: the skip needs x with its negative values.
        rectified = F.relu(x)
        if self.rectified_skip:
            x = rectified
        h = F.relu(self.conv1(rectified), inplace=True)
        if self.downsample:
            h = convolve_downsample(h, self.conv2.weight, self.conv2.bias)
            # A 1x1 convolution commutes with mean pooling and costs a quarter after it.
            return h.add_(self.skip(F.avg_pool2d(x, 2)))
        return self.conv2(h).add_(self.skip(x))


class Discriminator(DiscriminatorBase):
    """Images (B, C, H, W) in [-1, 1] and labels (B,) -> logits (B,), high for real.

    logit = l(f) + <e(label), f> with f the features summed over positions (Miyato & Koyama 2018).

    Args:
        resolution: as for `Generator`.
        width: channels that the layout multiplies.
        num_classes: number of labels; 0 for unconditional.
        attention: the feature maps that self-attention follows; None for no attention. If several
            blocks output the same size, attention follows the first of them.
        spectral_norm: how every convolution and linear layer and the label embedding are
            normalized; None for no normalization.
        initializer: as for `Generator`.
        rectified_skip: whether the skips of all blocks but the first get their input after its
            ReLU. Published weights need this where an in-place ReLU changed that input, as in
            StudioGAN; the paper's D is without it.
        seed: as for `Generator`.
        colors: likewise.

    Raises:
        ValueError: as for `Generator`.
    """

    family = "residual"

    def __init__(
        self,
        resolution: Resolution,
        width: int,
        num_classes: int = 0,
        attention: AttentionSpec | None = None,
        spectral_norm: SpectralSpec | None = SpectralSpec(),
        initializer: Initializer = nn.init.orthogonal_,
        rectified_skip: bool = False,
        seed: int | None = None,
        colors: Colors = "rgb",
    ) -> None:
        super().__init__()
        self.shape = ImageShape.of(resolution, colors)
        check_network_arguments(
            self.family, self.shape, width, num_classes, spectral_norm, initializer
        )
        self.num_classes = num_classes
        channels = [width * multiple for multiple in discriminator_channels(self.shape)]
        self.sizes = residual_discriminator_sizes(self.shape)

        self.blocks = nn.ModuleList([FirstDiscriminatorBlock(self.shape.channels, channels[0])])
        for i in range(1, len(channels)):
            downsample = self.sizes[i] < self.sizes[i - 1]
            self.blocks.append(
                DiscriminatorBlock(channels[i - 1], channels[i], downsample, rectified_skip)
            )
        maps = discriminator_feature_maps("residual", self.shape, width)
        self.self_attention = attention_blocks(attention, maps)
        self.linear = nn.Linear(channels[-1], 1)
        self.embedding = nn.Embedding(num_classes, channels[-1]) if num_classes else None

        initialize(self, initializer, seed)
        if spectral_norm is not None:
            apply_spectral_norm(self, (nn.Conv2d, nn.Linear, nn.Embedding), spectral_norm.eps)

    def embed(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> features float32 (B, D), summed over positions."""
        check_forward_images(images, self.shape)
        x = images
        for i, (size, block) in enumerate(zip(self.sizes, self.blocks, strict=True)):
            x = block(x)
            if str(size) in self.self_attention and size not in self.sizes[:i]:
                x = self.self_attention[str(size)](x)
        return F.relu(x).sum(dim=(2, 3), dtype=wide_dtype(x))

    def first_blocks(self, num: int) -> list[nn.Module]:
        attention = [a for size, a in self.self_attention.items() if int(size) in self.sizes[:num]]
        return [*self.blocks[:num], *attention]

    def class_logits(self, features: Tensor) -> Tensor:
        """Features (B, D) -> logits (B, K), one for each label; K = 1 without labels."""
        return class_logits(self.linear, self.embedding, features)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) in [-1, 1], labels int64 (B,) or None -> logits float32 (B,).

        Raises:
            ValueError: images or labels have another shape or dtype, or labels are missing or
                superfluous.
        """
        check_forward_labels(labels, images, self.num_classes)
        features = self.embed(images)
        weight = label_weight(self.linear, self.embedding, labels)  # (B, D) or (1, D)
        # Not as a matrix product, which autocast would compute in bfloat16.
        logits: Tensor = (weight * features).sum(dim=1) + self.linear.bias
        return logits
