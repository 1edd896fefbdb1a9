"""Exact receptive fields of convolutions in the published layouts, to compare attention with.

A layer's field is that of a 3x3 convolution in its place, with all convolutions before it. In a
discriminator it is measured in the image. A generator starts from a small map, with cells that are
blocks of the image. Earlier attention layers are ignored: only convolutions count.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from sagan.images.shape import ImageShape
from sagan.nn.channels import generator_start, projected_scale
from sagan.types import Int64Array


@dataclass(frozen=True)
class _Convolution:
    """One dimension of a convolution or pooling."""

    kernel: int
    stride: int
    padding: int

    def sources(self, span: Int64Array) -> Int64Array:
        """Return the first and last input position that the outputs of spans (..., 2) depend on."""
        first = span[..., 0] * self.stride - self.padding
        last = span[..., 1] * self.stride - self.padding + self.kernel - 1
        return np.stack([first, last], axis=-1)


@dataclass(frozen=True)
class _TransposedConvolution:
    """One dimension of a transposed convolution or of nearest upsampling."""

    kernel: int
    stride: int
    padding: int

    def sources(self, span: Int64Array) -> Int64Array:
        """Return the same. Input i reaches outputs i * stride - padding + (0 .. kernel - 1)."""
        first = -((self.kernel - 1 - self.padding - span[..., 0]) // self.stride)  # rounded up
        last = (span[..., 1] + self.padding) // self.stride
        return np.stack([first, last], axis=-1)


_Step = _Convolution | _TransposedConvolution

_CONV3 = _Convolution(kernel=3, stride=1, padding=1)
_HALVE = _Convolution(kernel=2, stride=2, padding=0)
_DOUBLE = _TransposedConvolution(kernel=2, stride=2, padding=0)
_DCGAN_DOWN = _Convolution(kernel=4, stride=2, padding=1)
_DCGAN_UP = _TransposedConvolution(kernel=4, stride=2, padding=1)
_ENLARGE = _TransposedConvolution(kernel=4, stride=2, padding=1)  # bilinear, to twice the side


def convolution_window(side: int, image_size: int) -> Int64Array:
    """Return what a 3x3 convolution sees of the attention layer's own map, as blocks of the image.

    Args:
        side: side of the map.
        image_size: side of the image in pixels, a multiple of `side`.

    Returns:
        int64 `(side, 2)`: for the positions along one axis, the pixels [start, stop).
    """
    return _as_pixels(_CONV3.sources(_positions(side)), side, image_size)


def convolution_windows(
    grid: tuple[int, int], image_size: tuple[int, int]
) -> tuple[Int64Array, Int64Array]:
    """Return `convolution_window` along the rows and along the columns."""
    down, across = (convolution_window(*axis) for axis in zip(grid, image_size, strict=True))
    return down, across


def receptive_fields(family: str, layer: str, shape: ImageShape) -> tuple[Int64Array, Int64Array]:
    """Return `receptive_field` along the rows and along the columns of images of any shape."""
    network, side = _network_and_side(layer)
    axes = list(zip(shape.feature_map(side), shape[:2], generator_start(shape), strict=True))
    if network == "generator":
        fields = [
            _field(_steps_to_start(family, cells, start), cells, start, pixels)
            for cells, pixels, start in axes
        ]
    elif family == "projected":
        scale = projected_scale(shape)
        fields = [
            _field(_steps_of_projected(cells, pixels, scale), cells, pixels, pixels)
            for cells, pixels, _ in axes
        ]
    else:
        fields = [
            _field(_steps_to_image(family, cells, pixels), cells, pixels, pixels)
            for cells, pixels, _ in axes
        ]
    return fields[0], fields[1]


def receptive_field(family: str, layer: str, resolution: int) -> Int64Array:
    """Return the theoretical receptive field of a 3x3 convolution in an attention layer's place.

    Args:
        family: "residual", "projected" or "dcgan", as in a configuration.
        layer: such as "discriminator.attention_16".
        resolution: side of the image in pixels.

    Returns:
        int64 `(side, 2)`, with the side of the layer's map: for the positions along one axis, the
        pixels [start, stop) of the image that the result may depend on.

    Raises:
        ValueError: the layer does not exist.
    """
    return receptive_fields(family, layer, ImageShape.of(resolution))[0]


def _network_and_side(layer: str) -> tuple[str, int]:
    network, _, side = layer.partition(".attention_")
    if network not in ("generator", "discriminator") or not side.isdecimal():
        raise ValueError(f"{layer!r} is not an attention layer's name")
    return network, int(side)


def _field(steps: Iterable[_Step], cells: int, sources: int, pixels: int) -> Int64Array:
    """The field along one axis.

    Args:
        steps: the layers from the map back to what the field is measured in.
        cells: of the map.
        sources: cells of the latter.
        pixels: of the image.
    """
    span = _CONV3.sources(_positions(cells))
    for step in steps:
        span = step.sources(span)
    return _as_pixels(span, sources, pixels)


def _steps_to_start(family: str, side: int, start: int) -> Iterator[_Step]:
    """The generator's layers from a map back to its start."""
    while side > start:
        yield from (_DCGAN_UP,) if family == "dcgan" else (_CONV3, _CONV3, _DOUBLE)
        side //= 2


def _steps_to_image(family: str, side: int, resolution: int) -> Iterator[_Step]:
    """The discriminator's layers from the first map of this side back to the image."""
    # Blocks that keep the size come after the first map of their size, so none is in between.
    while side < resolution:
        yield from (_DCGAN_DOWN,) if family == "dcgan" else (_HALVE, _CONV3, _CONV3)
        side *= 2


def _steps_of_projected(side: int, resolution: int, scale: int) -> Iterator[_Step]:
    """The frozen network's layers from its map of this side back to the image."""
    from sagan.nn.efficientnet import STAGES, TAPS  # imports torch

    tap = TAPS[(scale * resolution // side).bit_length() - 3]  # maps have 1/4, 1/8, ... of that
    for kernel, first_stride, _, num_blocks in reversed(STAGES[: tap + 1]):
        for _ in range(num_blocks - 1):
            yield _frozen_convolution(kernel, stride=1)
        yield _frozen_convolution(kernel, first_stride)
    yield _frozen_convolution(kernel=3, stride=2)  # the stem
    if scale == 2:
        yield _ENLARGE


def _frozen_convolution(kernel: int, stride: int) -> _Convolution:
    """A convolution with TensorFlow's padding, which puts an odd pixel after the map."""
    return _Convolution(kernel, stride, padding=(kernel - stride) // 2)


def _positions(side: int) -> Int64Array:
    position = np.arange(side)
    return np.stack([position, position], axis=-1)


def _as_pixels(span: Int64Array, side: int, image_size: int) -> Int64Array:
    """First and last cell of a grid over the image -> pixels [start, stop) inside it."""
    first, last = np.clip(span[:, 0], 0, side - 1), np.clip(span[:, 1], 0, side - 1)
    return np.stack([first * image_size // side, (last + 1) * image_size // side], axis=-1)
