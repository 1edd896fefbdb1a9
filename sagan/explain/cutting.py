"""What attention does to an image: draw the same image with part of its attention cut, and compare.

A map shows where a layer looks; this shows whether it matters.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from sagan.nn.attention import SelfAttention2d
from sagan.nn.base import GeneratorBase, LabelsLike, LatentsLike
from sagan.types import BoolArray, Float64Array, UInt8Array

# From a layer, its input x (B, C, H, W) and its map (B, N, M) to the weights that it uses instead.
Cut: TypeAlias = Callable[[SelfAttention2d, Tensor, Tensor], Tensor]

# Positions: the keys of the 3x3 around a query; where keys are pooled, that of its own 2x2 block.
NEARBY = 1.5


def cut_everything(layer: SelfAttention2d, x: Tensor, attention: Tensor) -> Tensor:
    """Remove all weights. Without biases of the output convolution it is as if gamma were 0."""
    return torch.zeros_like(attention)


def cut_key(key: int) -> Cut:
    """Remove the weights of one key, row-major on the grid of keys; the others stay as they are."""

    def cut(layer: SelfAttention2d, x: Tensor, attention: Tensor) -> Tensor:
        if not 0 <= key < attention.shape[-1]:
            raise ValueError(f"key {key} is not one of {attention.shape[-1]}")
        changed = attention.clone()
        changed[..., key] = 0
        return changed

    return cut


def cut_beyond(radius: float) -> Cut:
    """Remove the weights of keys farther away than a radius; the others again sum to 1.

    Where float32 has rounded the weights of all others to 0, they share the attention evenly.

    Args:
        radius: between centers, in positions of the layer's own feature map. Every query must have
            a key within it: at least 0, or 0.75 where keys are pooled.
    """

    def cut(layer: SelfAttention2d, x: Tensor, attention: Tensor) -> Tensor:
        near = (key_distances(layer, x.shape[2], x.shape[3]) <= radius).to(attention)
        if not near.any(dim=1).all():
            raise ValueError(f"within {radius} positions some queries have no key: use more")
        kept = attention * near
        total = kept.sum(dim=-1, keepdim=True)
        return torch.where(total == 0, near / near.sum(dim=1, keepdim=True), kept / total)

    return cut


def key_distances(layer: SelfAttention2d, height: int, width: int) -> Tensor:
    """Return the distance of each query's center to each key's: (N, M), in positions."""
    step = 2 if layer.pool else 1
    queries = _centers(height, width, 1)
    return torch.cdist(queries, _centers(height // step, width // step, step))


def _centers(height: int, width: int, step: int) -> Tensor:
    """Return the centers of cells of `step` x `step` positions, row-major: (height * width, 2)."""
    rows, columns = (step * (torch.arange(n) + 0.5) for n in (height, width))
    return torch.cartesian_prod(rows, columns)


@contextmanager
def applied(layer: SelfAttention2d, cut: Cut) -> Iterator[None]:
    """Let a layer use cut weights in the forward passes of the context."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> Tensor:
        x = inputs[0]
        return layer.attend(x, cut(layer, x, layer.attention(x)))

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True, eq=False)
class Effect:
    """Images with and without what was cut.

    Attributes:
        before: as the generator draws them, uint8 (num, S, S, 3).
        after: the same latents with the cut.
    """

    before: UInt8Array
    after: UInt8Array

    def change(self) -> Float64Array:
        """Return the mean absolute change of each pixel's channels: (num, S, S), in 0..255."""
        difference: Float64Array = np.abs(self.after.astype(np.float64) - self.before)
        return difference.mean(axis=-1)

    def share_inside(self, region: BoolArray) -> Float64Array:
        """Return the share of each image's change inside a region of pixels: (num,).

        Compare it with the region's share of the pixels. It is NaN where nothing changes.

        Args:
            region: bool (num, S, S), or (S, S) for all images.
        """
        change = self.change()
        inside, total = (np.sum(part, axis=(1, 2)) for part in (change * region, change))
        return np.divide(inside, total, out=np.full(len(total), np.nan), where=total > 0)


def cut_samples(
    generator: GeneratorBase,
    layer: str,
    cut: Cut,
    num: int,
    labels: LabelsLike | None = None,
    seed: int = 0,
    latents: LatentsLike | None = None,
) -> Effect:
    """Draw samples with and without a cut in one of the generator's attention layers.

    Args:
        generator: the generator.
        layer: a name in `generator.attention_layers()`.
        cut: `cut_everything`, `cut_key(...)` or `cut_beyond(...)`.
        num: number of samples.
        labels: as for `generator.sample`.
        seed: likewise.
        latents: likewise.

    Raises:
        ValueError: the generator has no such layer, or the cut does not fit it.
    """
    layers = generator.attention_layers()
    if layer not in layers:
        raise ValueError(f"no attention layer '{layer}': choose from {', '.join(layers) or 'none'}")
    before = generator.sample(num, labels, seed, latents=latents)
    with applied(layers[layer], cut):
        after = generator.sample(num, labels, seed, latents=latents)
    return Effect(before, after)
