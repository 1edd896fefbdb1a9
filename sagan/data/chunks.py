"""Decoding a chunk of images in a worker process. Every worker imports this: keep it light."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sagan.data.duplicates import image_hash
from sagan.data.sources.base import Decoder
from sagan.data.workers import Read, each
from sagan.errors import UnreadableError
from sagan.images.decode import Fit
from sagan.types import BoolArray, UInt8Array

# No channel of a flat image covers more of 0..255 than this: twice what 12-bit samples cover that
# were saved as 16 bits.
_FLAT = 31


@dataclass(frozen=True)
class DecodedChunk:
    """A decoded chunk, in few pieces so that the one process that writes them has little to do.

    Attributes:
        images: uint8 (n, S, S, 3), the readable images.
        hashes: the `image_hash` of each of these.
        num_flat: how many of these are nearly of one color.
        attributes: of each of these, if the source knows any.
        unreadable: why the others are not, by their place in the chunk.
    """

    images: UInt8Array
    hashes: list[int]
    num_flat: int
    attributes: list[dict[str, str]]
    unreadable: dict[int, str]


def decode_chunk(
    reads: Sequence[Read],
    decode: Decoder,
    size: int,
    fit: Fit,
    attributes: Callable[[bytes], dict[str, str]] | None = None,
) -> DecodedChunk:
    """Read and decode each image, to (size, size, 3), and find out its attributes."""
    work = partial(_decode, decode=partial(decode, size=size, fit=fit), attributes=attributes)
    decoded = each(work, reads)
    pairs = [pair for pair in decoded if not isinstance(pair, UnreadableError)]
    images = [image for image, _ in pairs]
    stacked = np.stack(images) if images else np.empty((0, size, size, 3), dtype=np.uint8)
    return DecodedChunk(
        stacked,
        [image_hash(image) for image in images],
        count_flat(stacked),
        [found for _, found in pairs],
        {n: str(pair) for n, pair in enumerate(decoded) if isinstance(pair, UnreadableError)},
    )


def _decode(
    data: bytes,
    decode: Callable[[bytes], UInt8Array],
    attributes: Callable[[bytes], dict[str, str]] | None,
) -> tuple[UInt8Array, dict[str, str]]:
    return decode(data), attributes(data) if attributes else {}


def count_flat(images: UInt8Array) -> int:
    """Count the images, uint8 (n, S, S, 3), that are nearly of one color."""
    # A few pixels show it for almost every image, which saves most of the time.
    step = max(1, images.shape[1] // 8)
    suspects = images[_are_flat(images[:, ::step, ::step])]
    return int(_are_flat(suspects).sum())


def _are_flat(images: UInt8Array) -> BoolArray:
    return (np.ptp(images, axis=(1, 2)) <= _FLAT).all(axis=1)
