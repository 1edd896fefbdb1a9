"""What is being measured: features of samples, and of the pictures that they are compared with."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sagan.metrics.measures.distances import Neighbors, nearest
from sagan.types import Float32Array, Int64Array

# Samples and real pictures that take part where every pair is compared.
NEIGHBORHOOD = 10_000
SHOWN = 5  # nearest training pictures of a sample


@dataclass(frozen=True)
class Rows:
    """Features of a set of pictures.

    Attributes:
        features: float32 (N, D).
        labels: int64 (N,), or None.
    """

    features: Float32Array
    labels: Int64Array | None

    def __len__(self) -> int:
        return len(self.features)

    def at(self, rows: Int64Array) -> "Rows":
        """Some of them, by ascending numbers; all of them are not copied."""
        if len(rows) == len(self):
            return self
        labels = None if self.labels is None else self.labels[rows]
        return Rows(self.features[rows], labels)


@dataclass(frozen=True)
class Subject:
    """What a metric may look at.

    Attributes:
        samples: of the model, with the labels asked for.
        logits: of the samples, float32 (N, K); (N, 0) where there are none.
        reference: of real pictures.
        train: of the pictures that the model was trained on.
        unseen: rows of `reference` that no picture of `train` equals, pixel for pixel, int64.
        distinct: rows of `train` that equal no earlier one, int64.
        seed: decides what is drawn at random.
    """

    samples: Rows
    logits: Float32Array
    reference: Rows
    train: Rows
    unseen: Int64Array
    distinct: Int64Array
    seed: int

    @cached_property
    def nearest_training(self) -> Neighbors:
        """The training pictures nearest to each of the first `NEIGHBORHOOD` samples."""
        k = min(SHOWN, len(self.train))
        return nearest(self.samples.features[:NEIGHBORHOOD], self.train.features, k)


def spread(available: int, num: int) -> npt.NDArray[np.int64]:
    """`num` of the numbers 0 to `available` - 1, evenly spread; all if there are fewer."""
    return np.arange(min(num, available)) * available // min(num, available)


def shared_labels(num: int, counts: npt.NDArray[np.int64]) -> Int64Array:
    """Labels (num,) in the proportions of `counts` (K,), each class spread evenly.

    Any first part of them has nearly the same proportions.
    """
    exact = num * counts / counts.sum()
    shares = np.floor(exact).astype(np.int64)
    # The largest remainders get what is left over.
    shares[np.argsort(shares - exact, kind="stable")[: num - shares.sum()]] += 1
    labels = np.repeat(np.arange(len(counts)), shares)
    position = np.concatenate([(np.arange(share) + 0.5) / max(share, 1) for share in shares])
    return labels[np.argsort(position, kind="stable")]
