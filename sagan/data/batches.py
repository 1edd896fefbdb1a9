"""The order of images in training: each batch is a pure function of (seed, batch number)."""

import operator
from collections.abc import Sequence

import numpy as np

from sagan.types import Int64Array


class BatchOrder:
    """Epochs end to end as one endless stream of image numbers, cut into batches.

    An epoch is a permutation of all N images, a function of (seed, epoch). Batch b is positions
    b*B .. (b+1)*B - 1 of the stream, so it may span two epochs, and no image is ever left over.
    Since any epoch's permutation can be made without the earlier ones, so can any batch.

    Args:
        num_images: N, at least 1.
        batch_size: B, at least 1: the global batch, over all processes.
        seed: any integer from 0 up.
        lanes: L, which divides B: the equal parts of a batch, one for each process and micro-batch.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int, lanes: int = 1) -> None:
        if num_images < 1 or batch_size < 1 or seed < 0 or lanes < 1 or batch_size % lanes:
            raise ValueError(f"out of range: {num_images=} {batch_size=} {seed=} {lanes=}")
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = operator.index(seed)
        self._size = batch_size // lanes
        self._epochs: dict[int, Int64Array] = {}

    def indices(self, batch: int) -> Int64Array:
        """Return batch number `batch` (from 0): int64 (B,), values in 0..N-1.

        Raises:
            ValueError: batch is negative.
        """
        if batch < 0:
            raise ValueError(f"out of range: {batch=}")
        start = batch * self.batch_size
        end = start + self.batch_size
        pieces = []
        while start < end:
            epoch, offset = divmod(start, self.num_images)
            piece = self._permutation(epoch)[offset : offset + end - start]
            pieces.append(piece)
            start += len(piece)
        return np.concatenate(pieces)

    def part(self, batch: int, lane: int) -> Int64Array:
        """Return a lane's part of a batch, int64 (B / L,): rows lane*B/L on of the whole batch.

        Raises:
            ValueError: batch is negative.
        """
        return self.indices(batch)[lane * self._size : (lane + 1) * self._size]

    def ahead(self, batch: int, lanes: Sequence[int]) -> tuple[int, ...]:
        """Return the shards to read ahead: none, since any image may come next."""
        return ()

    def _permutation(self, epoch: int) -> Int64Array:
        if epoch not in self._epochs:
            # Two are enough for batches in order, some of which span two epochs.
            while len(self._epochs) >= 2:
                self._epochs.pop(next(iter(self._epochs)))
            self._epochs[epoch] = permutation(self.num_images, self.seed, epoch)
        return self._epochs[epoch]


def permutation(num: int, seed: int, epoch: int, *more: int) -> Int64Array:
    """Return the order of one epoch, or of its part `more`: int64 (num,), each of 0..num-1 once.

    Philox (Salmon et al. 2011) is a counter-based random number generator: keyed by the seed and
    the other numbers, it carries no state over. Its raw 64-bit words are sorted, rather than
    calling `Generator.permutation`, because NumPy promises that these never change between its
    versions, but not the permutations (NEP 19).
    """
    key = np.random.SeedSequence(seed, spawn_key=(epoch, *more))
    words = np.random.Philox(key).random_raw(num)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)
