"""An order of images that needs few shards at a time: each batch is a pure function of its number.

A training divides each batch into lanes, one for each process and micro-batch. Lane i of L has the
shards i, i + L, i + 2L ... for good, so a process only ever reads its own. In each epoch a lane
shuffles its shards, takes W of them at a time, and shuffles all images of this window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sagan.data.batches import BatchOrder, permutation
from sagan.data.packed import PackedDataset
from sagan.data.shards.images import ShardedImages
from sagan.data.shards.layout import ShardLayout, shard_images
from sagan.errors import SaganError, counted
from sagan.types import Int64Array


class WindowedOrder:
    """Batches whose images come from windows of a few shards.

    Like `BatchOrder`, it lays the epochs of a lane end to end. Lanes whose shards have different
    numbers of images begin their epochs at different batches.

    Args:
        layout: the images in their shards.
        batch_size: B, over all lanes.
        seed: any integer from 0 up.
        window: W, at least 1.
        lanes: L, which divides B.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self, layout: ShardLayout, batch_size: int, seed: int, window: int, lanes: int = 1
    ) -> None:
        in_range = 1 <= lanes <= layout.num_shards and window >= 1 and seed >= 0
        if not in_range or batch_size < 1 or batch_size % lanes:
            raise ValueError(f"out of range: {batch_size=} {seed=} {window=} {lanes=}")
        self.batch_size = batch_size
        self._size = batch_size // lanes
        self._lanes = [_Lane(layout, seed, window, lane, lanes) for lane in range(lanes)]

    def indices(self, batch: int) -> Int64Array:
        """Return batch number `batch` (from 0): int64 (B,), the numbers of its images.

        Raises:
            ValueError: batch is negative.
        """
        return np.concatenate([self.part(batch, lane) for lane in range(len(self._lanes))])

    def part(self, batch: int, lane: int) -> Int64Array:
        """Return a lane's part of a batch, int64 (B / L,).

        Raises:
            ValueError: batch is negative.
        """
        if batch < 0:
            raise ValueError(f"out of range: {batch=}")
        return self._lanes[lane].rows(batch * self._size, self._size)

    def ahead(self, batch: int, lanes: Sequence[int]) -> tuple[int, ...]:
        """Return the shards that these lanes need from a batch on: this window's, then the next's.

        Args:
            batch: its number.
            lanes: those of this process.
        """
        windows = [self._lanes[lane].window_at(batch * self._size) for lane in lanes]
        windows += [self._lanes[lane].following(w) for lane, w in zip(lanes, windows, strict=True)]
        return tuple(dict.fromkeys(shard for window in windows for shard in window.shards))


Order: TypeAlias = BatchOrder | WindowedOrder


def order_of(
    dataset: PackedDataset, batch_size: int, seed: int, window: int, lanes: int = 1
) -> Order:
    """Return the order in which a training sees a data set.

    Args:
        dataset: in shards or in one piece. Of the latter, a shard is what `data pack --shards`
            would make one, so that both give the same order.
        batch_size: images in a batch, over all lanes.
        seed: of the order.
        window: shards that are shuffled together; 0 shuffles all images.
        lanes: parts of each batch.

    Raises:
        SaganError: there are fewer shards than lanes.
    """
    if not window:
        return BatchOrder(len(dataset), batch_size, seed, lanes)
    layout = ShardLayout(len(dataset), shard_images(dataset.shape))
    if isinstance(dataset.images, ShardedImages):
        layout = dataset.images.layout
    if layout.num_shards < lanes:
        shards = counted(layout.num_shards, "shard", "shards")
        raise SaganError(
            f"'{dataset.source}' has {shards} for {lanes} processes and micro-batches: pack it "
            "with a smaller --shard-mb, or give shuffle_window=0"
        )
    return WindowedOrder(layout, batch_size, seed, window, lanes)


@dataclass(frozen=True)
class _Window:
    """A part of a lane's stream of images.

    Attributes:
        epoch: of the lane.
        number: within the epoch.
        shards: whose images it has.
        start: its first position in the epoch.
    """

    epoch: int
    number: int
    shards: tuple[int, ...]
    start: int


class _Lane:
    """The stream of images of one lane."""

    def __init__(self, layout: ShardLayout, seed: int, window: int, lane: int, lanes: int) -> None:
        self._layout = layout
        self._seed = seed
        self._window = window
        self._lane = lane
        self._shards = np.arange(lane, layout.num_shards, lanes)
        self._num_images = sum(map(layout.size, self._shards.tolist()))
        self._windows: dict[int, list[_Window]] = {}
        self._rows: dict[tuple[int, int], Int64Array] = {}

    def rows(self, start: int, num: int) -> Int64Array:
        """Return the images at `num` positions of the stream, from `start` on."""
        pieces = []
        end = start + num
        while start < end:
            window = self.window_at(start)
            first = start % self._num_images - window.start
            pieces.append(self._rows_of(window)[first : first + end - start])
            start += len(pieces[-1])
        return np.concatenate(pieces)

    def window_at(self, position: int) -> _Window:
        """Return the window that a position of the stream is in."""
        epoch, offset = divmod(position, self._num_images)
        return next(w for w in reversed(self._windows_of(epoch)) if w.start <= offset)

    def following(self, window: _Window) -> _Window:
        """Return the window after another one."""
        windows = self._windows_of(window.epoch)
        if window.number + 1 < len(windows):
            return windows[window.number + 1]
        return self._windows_of(window.epoch + 1)[0]

    def _windows_of(self, epoch: int) -> list[_Window]:
        if epoch not in self._windows:
            order = permutation(len(self._shards), self._seed, epoch, self._lane)
            shards: list[int] = self._shards[order].tolist()
            windows: list[_Window] = []
            start = 0
            for first in range(0, len(shards), self._window):
                chosen = tuple(shards[first : first + self._window])
                windows.append(_Window(epoch, len(windows), chosen, start))
                start += sum(map(self._layout.size, chosen))
            _forget(self._windows)
            self._windows[epoch] = windows
        return self._windows[epoch]

    def _rows_of(self, window: _Window) -> Int64Array:
        key = window.epoch, window.number
        if key not in self._rows:
            rows = np.concatenate([self._layout.rows(shard) for shard in window.shards])
            order = permutation(len(rows), self._seed, window.epoch, self._lane, window.number)
            _forget(self._rows)
            self._rows[key] = rows[order]
        return self._rows[key]


def _forget(recent: dict) -> None:  # type: ignore[type-arg]
    """Keep the latest of a few values: a batch may lie in two windows, and in two epochs."""
    while len(recent) >= 2:
        recent.pop(next(iter(recent)))
