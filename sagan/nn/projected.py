"""The projected family: a discriminator that sees images through a frozen network, and its G.

"Projected GANs Converge Faster" (Sauer et al. 2021, arXiv 2111.01007): features of a classifier at
four resolutions are judged patch by patch, each by a head of its own. Ours have the paper's
self-attention and spectral normalization, its projection of labels (Miyato & Koyama 2018), and one
head more, which sees the pixels themselves: the frozen features hardly know colors, since the
classifier does not need them. Sauer et al. mix the features by random convolutions first; ours are
as they are, which takes less time and has not been shown to be worse: docs/experiments.md.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.images.shape import Colors, ImageShape, Resolution
from sagan.nn.attention_blocks import AttentionSpec, attention_blocks
from sagan.nn.base import DiscriminatorBase, View
from sagan.nn.channels import PROJECTED_SIDE, discriminator_feature_maps, projected_scale
from sagan.nn.efficientnet import EfficientNetLite0
from sagan.nn.initialization import Initializer
from sagan.nn.inputs import check_forward_images, check_forward_labels, check_network_arguments
from sagan.nn.label_projection import class_logits, label_weight
from sagan.nn.precision import wide_dtype
from sagan.nn.resnet import Generator, initialize
from sagan.nn.spectral_norm import SpectralSpec, apply_spectral_norm

PATCHES = 4  # a head judges at most 4 patches along the shorter side
SLOPE = 0.2  # of LeakyReLU
PIXELS = "pixels"  # name of the head on the image itself; the others have their map's side
# Roughly the root mean square of the features, from the largest map: of photos and drawings of
# 64 x 64 it is 8.7 to 10.8, 8.1 to 10.1, 6.9 to 8.4 and 3.3 to 3.8.
LEVELS = (9.0, 8.0, 7.0, 3.5)
# On the classifier's inputs. An update by Adam changes a weight by the learning rate at most.
CLASSIFIER_GAIN = 10.0


class ProjectedGenerator(Generator):
    """The residual generator with self-modulation, and narrower at 32 x 32 pixels.

    Beside heads that learn fast, a generator that gets its latent only at the start soon draws one
    image of each class: see docs/experiments.md.
    """

    family = "projected"
    self_modulated = True


class Head(nn.Module):
    """A feature map, or an image, and labels -> a logit for each patch.

    Args:
        rows: of the feature map.
        columns: likewise.
        in_channels: its channels.
        width: channels of the last layer.
        num_classes: number of labels; 0 for unconditional.
        first: channels of the first layer, which double with each that halves the map, up to
            `width`.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        in_channels: int,
        width: int,
        num_classes: int,
        first: int,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        channels = min(first, width)
        while min(rows, columns) > PATCHES:
            self.layers.append(nn.Conv2d(in_channels, channels, kernel_size=4, stride=2, padding=1))
            rows, columns, in_channels = rows // 2, columns // 2, channels
            channels = min(2 * channels, width)
        self.layers.append(nn.Conv2d(in_channels, width, kernel_size=3, padding=1))
        self.num_patches = rows * columns
        self.linear = nn.Linear(width, 1)
        self.embedding = nn.Embedding(num_classes, width) if num_classes else None

    def embed(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> features of the patches (B, P, C)."""
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE, inplace=True)
        return x.flatten(2).transpose(1, 2)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """(B, C_in, H, W) and labels (B,) -> logits (B, P)."""
        features = self.embed(x)
        weight = label_weight(self.linear, self.embedding, labels)  # (B, C) or (1, C)
        # Not as a matrix product, which autocast would compute in bfloat16.
        logits: Tensor = (features * weight[:, None]).sum(2) + self.linear.bias
        return logits

    def class_logits(self, features: Tensor) -> Tensor:
        """Mean features of the patches (B, C) -> mean logits (B, K), one for each label."""
        return class_logits(self.linear, self.embedding, features)


class ProjectedDiscriminator(DiscriminatorBase):
    """Images (B, C, H, W) in [-1, 1] and labels (B,) -> logits (B, P) of patches, high for real.

    Args:
        resolution: as for `Generator`.
        width: channels of the heads.
        num_classes: number of labels; 0 for unconditional.
        attention: the heads that begin with self-attention, by the side of their feature map; None
            for no attention.
        spectral_norm: how every trained convolution, linear layer and embedding is normalized; None
            for no normalization.
        initializer: sets each trained weight, in place, before it is normalized.
        seed: as for `Generator`.
        colors: likewise. The frozen network sees gray three times, and RGBA over white.
        classifier: whether to have a linear classifier of labels on the frozen features, for
            `class_loss` of a configuration.

    Raises:
        ValueError: as for `Discriminator`.
        SaganError: the package with the weights of the frozen network is damaged.
    """

    family = "projected"

    def __init__(
        self,
        resolution: Resolution,
        width: int,
        num_classes: int = 0,
        attention: AttentionSpec | None = None,
        spectral_norm: SpectralSpec | None = SpectralSpec(),
        initializer: Initializer = nn.init.orthogonal_,
        seed: int | None = None,
        colors: Colors = "rgb",
        classifier: bool = False,
    ) -> None:
        super().__init__()
        self.shape = ImageShape.of(resolution, colors)
        check_network_arguments(
            self.family, self.shape, width, num_classes, spectral_norm, initializer
        )
        self.num_classes = num_classes
        self.width = width
        maps = discriminator_feature_maps(self.family, self.shape, width)
        self.scale = projected_scale(self.shape)
        self.backbone = EfficientNetLite0()
        self.self_attention = attention_blocks(attention, maps)
        # At 64 pixels and more its first layers would take a third of the heads' time. At 32 a
        # narrow head drew faces that were all brown: only this one sees color.
        first = width if self.shape.side < PROJECTED_SIDE else width // 4
        self.heads = nn.ModuleDict({PIXELS: Head(*self.shape, width, num_classes, first)})
        for side, channels in maps.items():
            map_shape = (*self.shape.feature_map(side), channels)
            self.heads[str(side)] = Head(*map_shape, width, num_classes, width)
        initialize(self, initializer, seed)
        if spectral_norm is not None:
            apply_spectral_norm(self, (nn.Conv2d, nn.Linear, nn.Embedding), spectral_norm.eps)
        self.classifier: nn.Linear | None = None
        if classifier and num_classes:  # not an adversary: its weights need no bound
            self.classifier = nn.Linear(sum(maps.values()), num_classes)
            nn.init.zeros_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)

    def view(self, images: Tensor) -> View:
        """Return images (B, C, H, W) and their frozen features."""
        check_forward_images(images, self.shape)
        seen = _as_rgb(images)
        if self.scale != 1:
            seen = F.interpolate(seen, scale_factor=self.scale, mode="bilinear")
        features = self.backbone.pyramid(seen)
        return (images, *(x / level for x, level in zip(features, LEVELS, strict=True)))

    def forward(self, images: View, labels: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) in [-1, 1], labels int64 (B,) or None -> logits float32 (B, P).

        Args:
            images: or what `view` returned for them.
            labels: of the images.

        Raises:
            ValueError: images or labels have another shape or dtype, or labels are missing or
                superfluous.
        """
        view = images if isinstance(images, tuple) else self.view(images)
        check_forward_labels(labels, view[0], self.num_classes)
        return torch.cat([head(x, labels) for head, x in self._inputs_of_heads(view)], dim=1)

    def embed(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> features float32 (B, D): the mean of each head's patches."""
        heads = self._inputs_of_heads(self.view(images))
        return torch.cat([_mean(head.embed(x), 1) for head, x in heads], dim=1)

    def class_logits(self, features: Tensor) -> Tensor:
        """Features (B, D) -> logits (B, K), means over patches; K = 1 without labels."""
        heads = [head for head in self.heads.values() if isinstance(head, Head)]
        logits = [
            head.num_patches * head.class_logits(x)
            for head, x in zip(heads, features.split(self.width, dim=1), strict=True)
        ]
        return torch.stack(logits).sum(dim=0) / sum(head.num_patches for head in heads)

    def classify(self, view: View) -> Tensor | None:
        if self.classifier is None:
            return None
        _, *features = view
        pooled = torch.cat([_mean(x, (2, 3)) for x in features], dim=1)
        logits: Tensor = self.classifier(CLASSIFIER_GAIN * pooled)
        return logits

    def _inputs_of_heads(self, view: View) -> Iterator[tuple[Head, Tensor]]:
        """Yield each head with its input (B, C, H, W), after self-attention where there is one."""
        for (name, head), x in zip(self.heads.items(), view, strict=True):
            attended = self.self_attention[name](x) if name in self.self_attention else x
            assert isinstance(head, Head)
            yield head, attended

    def first_blocks(self, num: int) -> list[nn.Module]:
        return []  # a configuration refuses more than there are


def _as_rgb(images: Tensor) -> Tensor:
    """Return gray, RGB or RGBA images (B, C, H, W) in [-1, 1] as (B, 3, H, W), over white."""
    if images.shape[1] == 4:
        return 1 + (images[:, :3] - 1) * (images[:, 3:] + 1) / 2
    return images.expand(-1, 3, -1, -1)


def _mean(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    return x.to(wide_dtype(x)).mean(dim=dim)
