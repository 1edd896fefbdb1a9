"""The images of a sharded set, indexed like an array."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from sagan.data.npy_files import damaged, map_images
from sagan.data.shards.layout import MAX_HEADER_BYTES, ShardLayout, shard_name
from sagan.images.shape import ImageShape
from sagan.types import ImageRows, Int64Array, Rows, UInt8Array

MAX_OPEN = 64  # each open shard keeps a file descriptor, and systems allow about a thousand


class ShardStore(Protocol):
    """Where shards come from.

    Attributes:
        max_open: how many may be open at a time.
        streamed: whether it is slow to read images from many of them at a time.
    """

    max_open: int
    streamed: bool

    def path(self, shard: int) -> Path:
        """Return a shard's file, which is there."""

    def expect(self, shards: Sequence[int]) -> None:
        """Make shards ready meanwhile: those that are needed next, in that order."""


class LocalShards:
    """Shards in a folder, where they stay.

    Their checksums are not compared, as for a set in one piece: that would read all of it.
    """

    max_open = MAX_OPEN
    streamed = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, shard: int) -> Path:
        """Return a shard's file."""
        return self._folder / shard_name(shard)

    def expect(self, shards: Sequence[int]) -> None:
        """Do nothing: they are there."""

    def check_sizes(self, layout: ShardLayout, shape: ImageShape) -> None:
        """Check that all shards are files of the right size.

        Raises:
            SaganError: one is missing, a link, truncated or too long.
        """
        image_bytes = int(np.prod(shape))
        for shard in range(layout.num_shards):
            path = self.path(shard)
            try:
                status = os.lstat(path)
            except OSError as error:
                raise damaged(self._folder, f"{path.name}: {error.strerror}") from None
            header = status.st_size - layout.size(shard) * image_bytes
            if not stat.S_ISREG(status.st_mode) or not 0 < header <= MAX_HEADER_BYTES:
                raise damaged(self._folder, f"{path.name} is not a file of the right size")


class ShardedImages:
    """Images uint8 (N, H, W, C) in shards: indexing gives an array, read from the right places.

    Nothing is kept in memory but the order of the images, 16 bytes for each.

    Args:
        store: where the shards come from.
        layout: which image lies where.
        shape: of each image.

    Attributes:
        shape: (N, H, W, C).
    """

    def __init__(self, store: ShardStore, layout: ShardLayout, shape: ImageShape) -> None:
        self.store = store
        self.layout = layout
        self.shape = (layout.num_images, *shape)
        self._open: dict[int, UInt8Array] = {}

    def __len__(self) -> int:
        return self.layout.num_images

    def __getitem__(self, rows: Rows) -> UInt8Array:
        """Return one image (H, W, C) for a number, several (n, H, W, C) for a slice or an array.

        Raises:
            IndexError: a number is out of range.
            SaganError: a shard is damaged or cannot be fetched.
        """
        numbers = _numbers(rows, len(self))
        images = np.empty((numbers.size, *self.shape[1:]), np.uint8)
        shards, offsets = np.divmod(self.layout.places[numbers.ravel()], self.layout.per_shard)
        for shard in dict.fromkeys(shards.tolist()):
            chosen = np.flatnonzero(shards == shard)
            images[chosen] = self._shard(shard)[offsets[chosen]]
        return images.reshape(*numbers.shape, *self.shape[1:])

    def expect(self, shards: Sequence[int]) -> None:
        """Read ahead: these are the shards that are needed next, in that order."""
        self._open = {shard: self._open[shard] for shard in shards if shard in self._open}
        self.store.expect(shards)

    def _shard(self, shard: int) -> UInt8Array:
        if shard not in self._open:
            while len(self._open) >= self.store.max_open:
                self._open.pop(next(iter(self._open)))  # the one that was opened first
            shape = (self.layout.size(shard), *self.shape[1:])
            self._open[shard] = map_images(self.store.path(shard), shape)
        return self._open[shard]


class ChosenImages:
    """Some of a set's images, in a given order, read when they are indexed.

    Args:
        images: all of them.
        rows: the numbers of those that are chosen, int64 (n,).
    """

    def __init__(self, images: ImageRows, rows: Int64Array) -> None:
        self._images = images
        self._rows = rows
        self.shape = (len(rows), *images.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Rows) -> UInt8Array:
        return self._images[self._rows[rows]]


def _numbers(rows: Rows, num: int) -> Int64Array:
    """Return the numbers that an index stands for, from 0 to num - 1, as NumPy would."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(num))
    numbers = np.asarray(rows)
    if not numbers.size:
        return np.zeros(numbers.shape, np.int64)
    if not np.issubdtype(numbers.dtype, np.integer) or numbers.min() < -num or numbers.max() >= num:
        raise IndexError(f"rows {rows} of {num} images")
    return numbers.astype(np.int64) % num
