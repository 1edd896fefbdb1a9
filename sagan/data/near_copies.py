"""Finding images that are nearly the same: recompressed, resized, or cropped by a few percent.

Images are compared as 8 x 8 shades of gray, each with all others; the nearest one is then held
against crops of both. Correlation decides, since it ignores what compression does to brightness.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import numpy as np

from sagan.images.signature import SIGNATURE_BYTES, SIGNATURE_SIDE
from sagan.types import Float32Array, Int64Array, Progress, UInt8Array

# Of ImageNet's photos, all correlate as much with versions of half the size or JPEG's quality 30,
# and 85 of 100 with a crop by 4%; among 10,000 photos, 1 in 700 (skies, seas) with another one.
_NEAR = 0.96
# Leaves few pairs to align.
_COARSE = 0.9
_COARSE_SIDE = 8
# Mean colors may differ by this, of 255.
_COLOR = 20
# Standard deviation in shades of gray below which there is nothing to compare.
_PLAIN = 5
_CROPS = (0.0, 0.03, 0.06, 0.09)
_BLOCK = 2048
# About a minute on two cores: all pairs of 100,000 images. Of more, those alike in brightness.
_MAX_PAIRS = 10_000_000_000


def near_copies(
    signatures: UInt8Array, progress: Progress | None = None
) -> Iterator[tuple[int, int]]:
    """Yield (image, earlier image) for each image that is nearly the same as an earlier one.

    Args:
        signatures: uint8 (N, SIGNATURE_BYTES), one for each image; see `signature`.
        progress: called with (images compared, N).
    """
    num = len(signatures)
    gray = signatures[:, : SIGNATURE_SIDE**2]
    colors = signatures[:, SIGNATURE_SIDE**2 :].astype(np.int16)
    brightness = gray.mean(axis=1, dtype=np.float32)
    rows = np.flatnonzero(gray.std(axis=1, dtype=np.float32) >= _PLAIN)
    rows = rows[np.argsort(brightness[rows], kind="stable")]
    coarse = _coarse(gray[rows])
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(rows)))
        # In the order of brightness, so that one end bounds what can be a copy.
        darkest = brightness[rows[start]] - _COLOR
        first = int(np.searchsorted(brightness[rows], darkest))
        first = max(first, start - _MAX_PAIRS // (2 * num))
        nearest, alike = _nearest(coarse, block, first)
        left, right = rows[block], rows[nearest]
        passed = (alike > _COARSE) & (abs(colors[left] - colors[right]).max(axis=1) <= _COLOR)
        left, right = left[passed], right[passed]
        for here, there in zip(*_aligned(gray, left, right), strict=True):
            yield max(here, there), min(here, there)
        if progress is not None:
            progress(num if block.stop == len(rows) else block.stop, num)


def _coarse(gray: UInt8Array) -> Float32Array:
    """Return 8 x 8 shades of each image: float32 (N, 64) of mean 0 and length 1."""
    step = SIGNATURE_SIDE // _COARSE_SIDE
    coarse = np.empty((len(gray), _COARSE_SIDE**2), dtype=np.float32)
    for start in range(0, len(gray), _BLOCK):
        cells = gray[start : start + _BLOCK].reshape(-1, _COARSE_SIDE, step, _COARSE_SIDE, step)
        means = cells.mean(axis=(2, 4), dtype=np.float32)
        coarse[start : start + _BLOCK] = _standardized(means.reshape(len(cells), -1))
    return coarse


def _standardized(shades: Float32Array) -> Float32Array:
    centered = shades - shades.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centered, axis=1, keepdims=True)
    standardized: Float32Array = centered / np.maximum(length, 1e-6)
    return standardized


def _nearest(coarse: Float32Array, block: slice, first: int) -> tuple[Int64Array, Float32Array]:
    """Return for each image of a block the nearest one from `first` up to it, and how near it is.

    Args:
        coarse: float32 (N, 64), as `_coarse` returns it.
        block: the images to look at.
        first: the first row that may be near.
    """
    images = coarse[block]
    nearest = np.zeros(len(images), dtype=np.int64)
    alike = np.full(len(images), -1, dtype=np.float32)
    for start in range(first, block.stop, _BLOCK):
        stop = min(start + _BLOCK, block.stop)
        found = images @ coarse[start:stop].T
        if stop > block.start:  # an image is not compared with itself, nor twice with another
            later = np.arange(start, stop) >= np.arange(block.start, block.stop)[:, None]
            found[later] = -1
        best = found.argmax(axis=1)
        values = found[np.arange(len(images)), best]
        better = values > alike
        nearest[better], alike[better] = best[better] + start, values[better]
    return nearest, alike


def _aligned(gray: UInt8Array, left: Int64Array, right: Int64Array) -> tuple[list[int], list[int]]:
    """Return those pairs of which one image correlates with some crop of the other."""
    best = np.full(len(left), -1, dtype=np.float32)
    for whole, cropped in ((left, right), (right, left)):
        target = _standardized(gray[cropped].astype(np.float32))
        pixels = gray[whole].astype(np.float32)
        for crop in _crops():
            best = np.maximum(best, (_standardized(pixels @ crop) * target).sum(axis=1))
    near = best > _NEAR
    return left[near].tolist(), right[near].tolist()


@lru_cache(maxsize=1)
def _crops() -> tuple[Float32Array, ...]:
    """Return matrices (256, 256) from an image's 16 x 16 pixels to those of a crop of it."""
    crops = []
    for cut in _CROPS:
        starts = sorted({0, cut / 2, cut})
        for top, left in product(starts, starts):
            rows, columns = _resampling(top, 1 - cut), _resampling(left, 1 - cut)
            crops.append(np.ascontiguousarray(np.kron(rows, columns).T))
    return tuple(crops)


def _resampling(start: float, length: float) -> Float32Array:
    """Return the matrix (16, 16) that enlarges a part of 16 pixels to all 16, linearly."""
    places = (start + (np.arange(SIGNATURE_SIDE) + 0.5) / SIGNATURE_SIDE * length) * SIGNATURE_SIDE
    places = np.clip(places - 0.5, 0, SIGNATURE_SIDE - 1)
    below = np.minimum(places.astype(int), SIGNATURE_SIDE - 2)
    share = places - below
    matrix = np.zeros((SIGNATURE_SIDE, SIGNATURE_SIDE), dtype=np.float32)
    matrix[np.arange(SIGNATURE_SIDE), below] = 1 - share
    matrix[np.arange(SIGNATURE_SIDE), below + 1] = share
    return matrix


def as_signatures(data: bytes | bytearray) -> UInt8Array:
    """Return signatures that follow each other as uint8 (N, SIGNATURE_BYTES)."""
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, SIGNATURE_BYTES)
