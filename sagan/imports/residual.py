"""From the layers of another project's residual networks to ours: settings and state dicts.

Each project's file finds its layers by name and describes both networks as `GeneratorParts` and
`DiscriminatorParts`. What they have in common is here: which of our layouts they have, and where
each tensor goes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sagan.errors import SaganError
from sagan.images.shape import ImageShape
from sagan.imports.tensors import Attention, Layer, Norm, Tensors
from sagan.nn.channels import (
    RESIDUAL_DISCRIMINATOR,
    RESIDUAL_GENERATOR,
    residual_discriminator_sizes,
    residual_generator_sizes,
)
from sagan.storage.torch_files import StateDict


class GeneratorBlockParts(NamedTuple):
    """The layers of one block of G, in the order in which they are computed; the skip last."""

    norm1: Norm
    conv1: Layer
    norm2: Norm
    conv2: Layer
    skip: Layer


class DiscriminatorBlockParts(NamedTuple):
    """The layers of one block of D; `skip` only where it is not the identity."""

    conv1: Layer
    conv2: Layer
    skip: Layer | None


@dataclass(frozen=True)
class GeneratorParts:
    """The layers of a residual generator.

    Attributes:
        linear: from latents to the 4 x 4 feature map.
        blocks: in their order.
        attention: by the index of the block that it follows.
        norm: the last batch norm.
        to_rgb: the last convolution.
    """

    linear: Layer
    blocks: list[GeneratorBlockParts]
    norm: Norm
    to_rgb: Layer
    attention: dict[int, Attention] = field(default_factory=dict)


@dataclass(frozen=True)
class DiscriminatorParts:
    """The layers of a residual discriminator.

    Attributes:
        blocks: in their order.
        linear: from features to a logit.
        embedding: the labels' projection; None without labels.
        attention: by the index of the block that it follows.
    """

    blocks: list[DiscriminatorBlockParts]
    linear: Layer
    embedding: Layer | None
    attention: dict[int, Attention] = field(default_factory=dict)


@dataclass(frozen=True)
class Converted:
    """One network in our terms.

    Attributes:
        settings: the fields of a configuration that describe it.
        num_classes: number of labels; 0 for unconditional.
        tensors: its state dict.
    """

    settings: dict[str, Any]
    num_classes: int
    tensors: StateDict


@dataclass(frozen=True)
class BlockNames:
    """How a project calls the convolutions of a block: what follows the block's own name."""

    conv1: str
    conv2: str
    skip: str

    def generator_block(
        self, tensors: Tensors, block: str, norm1: Norm, norm2: Norm
    ) -> GeneratorBlockParts:
        """Return a block of G with these batch norms."""
        conv1, conv2, skip = (
            tensors.layer(f"{block}.{name}") for name in (self.conv1, self.conv2, self.skip)
        )
        return GeneratorBlockParts(norm1, conv1, norm2, conv2, skip)

    def discriminator_block(self, tensors: Tensors, block: str) -> DiscriminatorBlockParts:
        """Return a block of D."""
        conv1, conv2 = (tensors.layer(f"{block}.{name}") for name in (self.conv1, self.conv2))
        has_skip = tensors.has(f"{block}.{self.skip}.")
        skip = tensors.layer(f"{block}.{self.skip}") if has_skip else None
        return DiscriminatorBlockParts(conv1, conv2, skip)


def convert_generator(parts: GeneratorParts, origin: str) -> Converted:
    """Return a generator in our terms.

    Raises:
        SaganError: its blocks do not have the channels of one of our layouts.
    """
    channels = [len(block.norm1.mean) for block in parts.blocks] + [len(parts.norm.mean)]
    resolution, width = _layout(RESIDUAL_GENERATOR, channels, "generator", origin)
    layers = {"linear": parts.linear, "to_rgb": parts.to_rgb}
    norms: dict[str, Norm] = {}
    for i, block in enumerate(parts.blocks):
        for name, part in block._asdict().items():
            (norms if isinstance(part, Norm) else layers)[f"blocks.{i}.{name}"] = part
    sizes = residual_generator_sizes(ImageShape.of(resolution))
    tensors, normalized = _layers(layers, parts.attention, sizes)
    for name, norm in norms.items():
        tensors |= _block_norm(name, norm)
    tensors |= plain_norm("norm", parts.norm)
    conditional = parts.blocks[0].norm1.gain.dim() == 2
    settings = {
        "resolution": resolution,
        "channels_g": width,
        "latent_size": parts.linear.weight.shape[1],
        "attention_g": tuple(sizes[i] for i in parts.attention),
        "spectral_norm_g": normalized,
    }
    return Converted(settings, len(parts.blocks[0].norm1.gain) if conditional else 0, tensors)


def convert_discriminator(parts: DiscriminatorParts, origin: str) -> Converted:
    """Return a discriminator in our terms.

    Raises:
        SaganError: its blocks do not have the channels of one of our layouts.
    """
    channels = [block.conv2.weight.shape[0] for block in parts.blocks]
    resolution, width = _layout(RESIDUAL_DISCRIMINATOR, channels, "discriminator", origin)
    for block in parts.blocks:
        hidden, out = block.conv1.weight.shape[0], block.conv2.weight.shape[0]
        if hidden != out:
            raise SaganError(
                f"'{origin}': a block of the discriminator has {hidden} channels inside and {out} "
                "after it, where ours have equally many: it is a variant that cannot be imported"
            )
    layers = {"linear": parts.linear}
    if parts.embedding is not None:
        layers["embedding"] = parts.embedding
    for i, block in enumerate(parts.blocks):
        given = {name: layer for name, layer in block._asdict().items() if layer is not None}
        layers |= {f"blocks.{i}.{name}": layer for name, layer in given.items()}
    sizes = residual_discriminator_sizes(ImageShape.of(resolution))
    for i in parts.attention:
        if sizes[i] in sizes[:i]:
            raise SaganError(
                f"'{origin}': attention follows block {i + 1} of the discriminator, and ours only "
                f"the first block with {sizes[i]} x {sizes[i]} outputs: it cannot be imported"
            )
    tensors, normalized = _layers(layers, parts.attention, sizes)
    settings = {
        "resolution": resolution,
        "channels_d": width,
        "attention_d": tuple(sizes[i] for i in parts.attention),
        "spectral_norm_d": normalized,
    }
    num_classes = len(parts.embedding.weight) if parts.embedding is not None else 0
    return Converted(settings, num_classes, tensors)


def _layout(
    layouts: Mapping[int, Sequence[int]], channels: list[int], network: str, origin: str
) -> tuple[int, int]:
    """Return the resolution and the width of a network with these channels."""
    for resolution, multiples in layouts.items():
        if len(multiples) == len(channels):
            width = channels[-1] // multiples[-1]
            own = [width * multiple for multiple in multiples]
            if own == channels:
                return resolution, width
            raise SaganError(
                f"'{origin}': the {network}'s blocks have {_listed(channels)} channels, where our "
                f"layout at {resolution} pixels has {_listed(multiples)} times the width: it is a "
                "variant that cannot be imported"
            )
    raise SaganError(
        f"'{origin}': the {network} has {len(channels)} feature maps, which none of our layouts "
        f"has: they are for {_listed(layouts)} pixels"
    )


def _listed(numbers: Sequence[int] | Mapping[int, Any]) -> str:
    return ", ".join(map(str, numbers))


def _layers(
    layers: dict[str, Layer], attention: Mapping[int, Attention], sizes: Sequence[int]
) -> tuple[StateDict, bool]:
    """Return the tensors of all layers, and whether they stay spectrally normalized.

    They do if all are: our networks normalize all of these layers or none.
    """
    gammas: StateDict = {}
    for i, attended in attention.items():
        place = f"self_attention.{sizes[i]}"
        layers |= {
            f"{place}.{name}": getattr(attended, name)
            for name in ("query", "key", "value", "output")
        }
        gammas[f"{place}.gamma"] = attended.gamma
    normalized = all(layer.u is not None for layer in layers.values())
    tensors: StateDict = {}
    for name, layer in layers.items():
        tensors |= layer_tensors(name, layer if normalized else layer.folded())
    return tensors | gammas, normalized


def layer_tensors(name: str, layer: Layer) -> StateDict:
    """Return a layer's tensors by the names that they have in our networks.

    The vector v of a convolution gets the order of our `SpectralNorm`: channels last.
    """
    tensors = {f"{name}.bias": layer.bias} if layer.bias is not None else {}
    if layer.u is None or layer.v is None:
        return tensors | {f"{name}.weight": layer.weight}
    v = layer.v
    if layer.weight.dim() == 4:
        v = v.unflatten(0, layer.weight.shape[1:]).permute(1, 2, 0).flatten()
    prefix = f"{name}.parametrizations.weight"
    return tensors | {
        f"{prefix}.original": layer.weight,
        f"{prefix}.0.u": layer.u,
        f"{prefix}.0.v": v,
    }


def plain_norm(name: str, norm: Norm) -> StateDict:
    """Return a batch norm's tensors by the names of `nn.BatchNorm2d`."""
    own = norm.with_own_eps()
    return _statistics(name, own) | {f"{name}.weight": own.gain, f"{name}.bias": own.bias}


def _block_norm(name: str, norm: Norm) -> StateDict:
    if norm.gain.dim() == 1:
        return plain_norm(f"{name}.norm", norm)
    own = norm.with_own_eps()
    tables = {f"{name}.gain.weight": own.gain, f"{name}.bias.weight": own.bias}
    return _statistics(f"{name}.norm", own) | tables


def _statistics(name: str, norm: Norm) -> dict[str, Tensor]:
    return {
        f"{name}.running_mean": norm.mean,
        f"{name}.running_var": norm.variance,
        f"{name}.num_batches_tracked": torch.zeros((), dtype=torch.int64),
    }
