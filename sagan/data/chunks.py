"""Decoding a chunk of images in a worker process. Every worker imports this: keep it light."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sagan.data.duplicates import image_hash
from sagan.data.sources.base import Decoder
from sagan.data.workers import Read, each
from sagan.errors import UnreadableError
from sagan.images.decode import Fit
from sagan.types import UInt8Array


@dataclass(frozen=True)
class DecodedChunk:
    """A decoded chunk, in few pieces so that the one process that writes them has little to do.

    Attributes:
        images: uint8 (n, S, S, 3), the readable images.
        hashes: the `image_hash` of each of these.
        unreadable: why the others are not, by their place in the chunk.
    """

    images: UInt8Array
    hashes: list[int]
    unreadable: dict[int, str]


def decode_chunk(reads: Sequence[Read], decode: Decoder, size: int, fit: Fit) -> DecodedChunk:
    """Read and decode each image, to (size, size, 3)."""
    decoded = each(partial(decode, size=size, fit=fit), reads)
    images = [image for image in decoded if not isinstance(image, UnreadableError)]
    return DecodedChunk(
        np.stack(images) if images else np.empty((0, size, size, 3), dtype=np.uint8),
        [image_hash(image) for image in images],
        {n: str(image) for n, image in enumerate(decoded) if isinstance(image, UnreadableError)},
    )
