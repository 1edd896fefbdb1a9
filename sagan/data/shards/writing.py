"""Cutting a packed set's images into shards."""

from collections.abc import Iterator
from pathlib import Path

from sagan.data.npy_files import synced, write_rows
from sagan.data.shards.layout import ShardLayout, shard_name
from sagan.images.shape import ImageShape
from sagan.storage.files import sha256_of
from sagan.types import Int64Array, Progress, UInt8Array

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
    shape = ImageShape(*images.shape[1:])
    step = max(1, _CHUNK_BYTES // images[0].nbytes)
    checksums = []
    for shard in range(layout.num_shards):
        path = folder / shard_name(shard)
        with synced(path) as file:
            write_rows(file, _pieces(images, layout.rows(shard), step), shape)
        checksums.append(sha256_of(path))
        if progress is not None:
            progress(min((shard + 1) * layout.per_shard, len(images)), len(images))
    return tuple(checksums)


def _pieces(images: UInt8Array, rows: Int64Array, step: int) -> Iterator[UInt8Array]:
    for start in range(0, len(rows), step):
        yield images[rows[start : start + step]]
