"""The deconvolution networks at 64 x 64, with which the self-attention layer became popular.

The networks are DCGAN's (Radford et al. 2016) as changed by the popular PyTorch SAGAN: 4x4
(transposed) convolutions of stride 2, no labels, attention in the "full" form after layers 3 and 4,
and spectral norm on every convolution except the attention's and the last.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.images.shape import Colors, ImageShape
from sagan.nn.attention_blocks import AttentionSpec, attention_blocks
from sagan.nn.base import DiscriminatorBase, GeneratorBase
from sagan.nn.channels import (
    DCGAN_DISCRIMINATOR,
    DCGAN_GENERATOR,
    DCGAN_RESOLUTION,
    discriminator_feature_maps,
    generator_feature_maps,
)
from sagan.nn.convolution import Conv2d, ConvTranspose2d
from sagan.nn.inputs import (
    check_forward_images,
    check_forward_labels,
    check_forward_latents,
    check_whole,
)
from sagan.nn.norms import BatchNorm2d, fold_batch_norm
from sagan.nn.precision import without_autocast
from sagan.nn.spectral_norm import SpectralSpec, apply_spectral_norm, check_spectral_spec


class DCGANGenerator(GeneratorBase):
    """Latents (B, latent_size) -> images (B, C, 64, 64) in [-1, 1], without labels.

    The initial weights are torch's defaults.

    Args:
        width: channels of the last hidden layer; the first has 8 times as many.
        latent_size: length of a latent vector.
        attention: the feature maps that self-attention follows, with sides 4, 8, 16 or 32; None
            for no attention.
        spectral_norm: how all transposed convolutions except the last are normalized; None for no
            normalization.
        colors: of the images: "rgb", "gray" or "rgba", which are C = 3, 1 or 4 channels.

    Raises:
        ValueError: attention is at another size or on fewer than 8 channels, its form, backend or
            block is unknown, or a number is too small.
        TypeError: an argument is of another type.
    """

    family = "dcgan"

    def __init__(
        self,
        width: int,
        latent_size: int = 128,
        attention: AttentionSpec | None = AttentionSpec((16, 32), form="full"),
        spectral_norm: SpectralSpec | None = SpectralSpec(),
        colors: Colors = "rgb",
    ) -> None:
        super().__init__()
        check_whole(width=width, latent_size=latent_size)
        check_spectral_spec(spectral_norm)
        self.shape = ImageShape.of(DCGAN_RESOLUTION, colors)
        self.latent_size = latent_size
        self.num_classes = 0
        channels = generator_feature_maps("dcgan", self.shape, width)
        widths = [latent_size, *channels.values()]

        self.layers = nn.ModuleList([ConvTranspose2d(widths[0], widths[1], kernel_size=4)])
        for c_in, c_out in pairwise(widths[1:]):
            self.layers.append(ConvTranspose2d(c_in, c_out, kernel_size=4, stride=2, padding=1))
        self.norms = nn.ModuleList(BatchNorm2d(c) for c in widths[1:])
        if spectral_norm is not None:
            apply_spectral_norm(self.layers, (nn.ConvTranspose2d,), spectral_norm.eps)
        # Drawn before attention, so that the weights do not depend on it.
        to_rgb = ConvTranspose2d(
            widths[-1], self.shape.channels, kernel_size=4, stride=2, padding=1
        )
        self.self_attention = attention_blocks(attention, channels)
        self.to_rgb = to_rgb

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (B, latent_size) -> images (B, C, 64, 64) in [-1, 1].

        Raises:
            ValueError: latents have another shape or dtype, or there are labels.
        """
        check_forward_latents(latents, self.latent_size)
        check_forward_labels(labels, latents, self.num_classes)
        x = latents[:, :, None, None].contiguous(memory_format=torch.channels_last)
        for size, layer, norm in zip(DCGAN_GENERATOR, self.layers, self.norms, strict=True):
            x = F.relu(norm(layer(x)), inplace=True)  # (B, C, size, size)
            if str(size) in self.self_attention:
                x = self.self_attention[str(size)](x)
        return torch.tanh(self.to_rgb(x))

    def fold_norms(self) -> None:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            fold_batch_norm(layer, norm)  # type: ignore[arg-type]
        self.norms = nn.ModuleList(nn.Identity() for _ in self.norms)


class DCGANDiscriminator(DiscriminatorBase):
    """Images (B, C, 64, 64) in [-1, 1] -> logits (B,), high for real; without labels.

    Args:
        width: channels of the first layer; the last hidden one has 8 times as many.
        attention: the feature maps that self-attention follows, with sides 32, 16, 8 or 4; None
            for no attention.
        spectral_norm: how all convolutions except the last are normalized; None for no
            normalization.
        colors: as for `DCGANGenerator`.

    Raises:
        ValueError: as for `DCGANGenerator`.
    """

    family = "dcgan"

    def __init__(
        self,
        width: int,
        attention: AttentionSpec | None = AttentionSpec((8, 4), form="full"),
        spectral_norm: SpectralSpec | None = SpectralSpec(),
        colors: Colors = "rgb",
    ) -> None:
        super().__init__()
        check_whole(width=width)
        check_spectral_spec(spectral_norm)
        self.shape = ImageShape.of(DCGAN_RESOLUTION, colors)
        self.num_classes = 0
        channels = discriminator_feature_maps("dcgan", self.shape, width)
        widths = [self.shape.channels, *channels.values()]

        self.layers = nn.ModuleList(
            Conv2d(c_in, c_out, kernel_size=4, stride=2, padding=1)
            for c_in, c_out in pairwise(widths)
        )
        if spectral_norm is not None:
            apply_spectral_norm(self.layers, (nn.Conv2d,), spectral_norm.eps)
        last = nn.Conv2d(widths[-1], 1, kernel_size=4)  # drawn before attention, as in G
        self.self_attention = attention_blocks(attention, channels)
        self.last = last

    def _hidden(self, images: Tensor) -> Tensor:
        """(B, C, 64, 64) -> (B, 8 * width, 4, 4)."""
        check_forward_images(images, self.shape)
        x = images
        for size, layer in zip(DCGAN_DISCRIMINATOR, self.layers, strict=True):
            x = F.leaky_relu(layer(x), 0.1, inplace=True)  # (B, C, size, size)
            if str(size) in self.self_attention:
                x = self.self_attention[str(size)](x)
        return x

    def embed(self, images: Tensor) -> Tensor:
        """Images (B, C, 64, 64) -> features (B, 128 * width), the positions flattened."""
        return self._hidden(images).flatten(1)

    def first_blocks(self, num: int) -> list[nn.Module]:
        sizes = list(DCGAN_DISCRIMINATOR)[:num]
        attention = [a for size, a in self.self_attention.items() if int(size) in sizes]
        return [*self.layers[:num], *attention]

    def class_logits(self, features: Tensor) -> Tensor:
        """Features (B, 128 * width) -> logits (B, 1)."""
        return self._logits(features.unflatten(1, (-1, 4, 4)))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (B, C, 64, 64) in [-1, 1] -> logits float32 (B,).

        Raises:
            ValueError: images have another shape or dtype, or there are labels.
        """
        check_forward_labels(labels, images, self.num_classes)
        return self._logits(self._hidden(images)).flatten()

    def _logits(self, hidden: Tensor) -> Tensor:
        """(B, 8 * width, 4, 4) -> (B, 1), in float32 even under autocast."""
        with without_autocast(hidden):
            logits: Tensor = self.last(hidden.to(self.last.weight.dtype)).flatten(1)
        return logits
