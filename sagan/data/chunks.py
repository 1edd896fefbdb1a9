"""Decoding a chunk of images in a worker process. Every worker imports this: keep it light."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sagan.data.duplicates import image_hash
from sagan.data.sources.base import Decoder
from sagan.data.workers import Read, each
from sagan.errors import UnreadableError
from sagan.images.decode import Fit, range_of
from sagan.images.decode import decode as decode_file
from sagan.images.depth import GrayRange
from sagan.images.shape import ImageShape
from sagan.types import BoolArray, UInt8Array

# No channel of a flat image covers more of 0..255 than this: twice what 12-bit samples cover that
# were saved as 16 bits.
FLAT_CONTRAST = 31


@dataclass(frozen=True)
class DecodedChunk:
    """A decoded chunk, in few pieces so that the one process that writes them has little to do.

    Attributes:
        images: uint8 (n, H, W, C), the readable images.
        hashes: the `image_hash` of each of these.
        num_flat: how many of these are nearly of one color.
        attributes: of each of these, if the source knows any.
        gray: the range of those that are files with gray of more than 8 bits.
        unreadable: why the others are not, by their place in the chunk.
    """

    images: UInt8Array
    hashes: list[int]
    num_flat: int
    attributes: list[dict[str, str]]
    gray: GrayRange
    unreadable: dict[int, str]


def decode_chunk(
    reads: Sequence[Read],
    decode: Decoder,
    shape: ImageShape,
    fit: Fit,
    attributes: Callable[[bytes], dict[str, str]] | None = None,
) -> DecodedChunk:
    """Read and decode each image, and find out its attributes."""
    work = partial(_decode, decode=decode, shape=shape, fit=fit, attributes=attributes)
    results = each(work, reads)
    decoded = [result for result in results if not isinstance(result, UnreadableError)]
    images = [image for image, _, _ in decoded]
    stacked = np.stack(images) if images else np.empty((0, *shape), dtype=np.uint8)
    return DecodedChunk(
        stacked,
        [image_hash(image) for image in images],
        count_flat(stacked),
        [found for _, found, _ in decoded],
        sum((gray for _, _, gray in decoded), GrayRange()),
        {n: str(result) for n, result in enumerate(results) if isinstance(result, UnreadableError)},
    )


def _decode(
    data: bytes,
    decode: Decoder,
    shape: ImageShape,
    fit: Fit,
    attributes: Callable[[bytes], dict[str, str]] | None,
) -> tuple[UInt8Array, dict[str, str], GrayRange]:
    # Other decoders take bytes of other kinds, or know the range by now.
    gray = range_of(data) if decode is decode_file else GrayRange()
    pixels = decode(data, size=shape.resolution, fit=fit, colors=shape.colors)
    return pixels, attributes(data) if attributes else {}, gray


def count_flat(images: UInt8Array) -> int:
    """Count the images, uint8 (n, H, W, C), that are nearly of one color."""
    # A few pixels show it for almost every image, which saves most of the time.
    down, across = (max(1, side // 8) for side in images.shape[1:3])
    suspects = images[_are_flat(images[:, ::down, ::across])]
    return int(_are_flat(suspects).sum())


def _are_flat(images: UInt8Array) -> BoolArray:
    return (np.ptp(images, axis=(1, 2)) <= FLAT_CONTRAST).all(axis=1)
