"""Cutting a packed set's images into shards."""

import math
from pathlib import Path

from sagan.data.npy_files import synced, write_rows
from sagan.data.shards.layout import ShardLayout, shard_name
from sagan.images.shape import ImageShape
from sagan.storage.files import sha256_of
from sagan.types import ImageRows, Int64Array, Progress, UInt8Array

_CHUNK_BYTES = 4 * 1024**2


def write_shards(
    images: UInt8Array, folder: Path, layout: ShardLayout, progress: Progress | None = None
) -> tuple[str, ...]:
    """Write images (N, H, W, C) as shards into a folder; return the SHA-256 of each.

    Args:
        images: memory-mapped; they are read in the order of the shards, in small pieces.
        folder: where to write.
        layout: which image goes where.
        progress: called with images written, and images in all.
    """
    checksums = []
    for shard in range(layout.num_shards):
        checksums.append(write_shard(images, folder / shard_name(shard), layout.rows(shard)))
        if progress is not None:
            progress(min((shard + 1) * layout.per_shard, len(images)), len(images))
    return tuple(checksums)


def write_shard(images: ImageRows, path: Path, rows: Int64Array) -> str:
    """Write some images of a set (N, H, W, C) as one shard; return its SHA-256.

    Args:
        images: all of the set; they are read in small pieces.
        path: the file to write.
        rows: which images, in the order of the shard.
    """
    shape = ImageShape(*images.shape[1:])
    step = max(1, _CHUNK_BYTES // math.prod(shape))
    pieces = (images[rows[start : start + step]] for start in range(0, len(rows), step))
    with synced(path) as file:
        write_rows(file, pieces, shape)
    return sha256_of(path)
