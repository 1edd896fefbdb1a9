"""Inputs of the metrics: features of samples, and of the images that they are compared with."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sagan.metrics.measures.distances import Neighbors, nearest
from sagan.types import Float32Array, Int64Array

MAX_COMPARED_IMAGES = 10_000  # of each set, in metrics that compare every pair
NUM_NEIGHBORS_SHOWN = 5  # nearest training images of a sample


@dataclass(frozen=True)
class Features:
    """Features of a set of images.

    Attributes:
        features: float32 (N, D).
        labels: int64 (N,), or None.
    """

    features: Float32Array
    labels: Int64Array | None

    def __len__(self) -> int:
        return len(self.features)

    def at(self, rows: Int64Array) -> "Features":
        """Return the features at ascending row numbers, without a copy if these are all rows."""
        if len(rows) == len(self):
            return self
        labels = self.labels[rows] if self.labels is not None else None
        return Features(self.features[rows], labels)


def known_labels(images: Features) -> Int64Array:
    """Return the labels of images that are known to have labels."""
    assert images.labels is not None
    return images.labels


def smallest_counts(one: Int64Array, other: Int64Array, classes: int) -> Int64Array:
    """Return, for each class, the smaller of its counts in two sets of labels: int64 (K,)."""
    counts: Int64Array = np.minimum(*(np.bincount(y, minlength=classes) for y in (one, other)))
    return counts


@dataclass(frozen=True)
class MetricInputs:
    """Everything that a metric may depend on.

    Attributes:
        samples: of the model, with the requested labels.
        logits: of the samples, float32 (N, K); (N, 0) if there are none.
        reference: of real images.
        train: of the images that the model was trained on.
        unseen: rows of `reference` that equal no image of `train` pixel for pixel, int64.
        distinct: rows of `train` that equal no earlier row, int64.
        seed: decides whatever is random.
    """

    samples: Features
    logits: Float32Array
    reference: Features
    train: Features
    unseen: Int64Array
    distinct: Int64Array
    seed: int

    @cached_property
    def nearest_training(self) -> Neighbors:
        """The training images nearest to each of the first `MAX_COMPARED_IMAGES` samples."""
        k = min(NUM_NEIGHBORS_SHOWN, len(self.train))
        return nearest(self.samples.features[:MAX_COMPARED_IMAGES], self.train.features, k)


def evenly_spaced(available: int, num: int) -> Int64Array:
    """Return `num` of the numbers 0 to `available` - 1, evenly spaced; all if there are fewer."""
    return np.arange(min(num, available)) * available // min(num, available)


def proportional_labels(num: int, counts: Int64Array) -> Int64Array:
    """Return labels (num,) in the proportions of `counts` (K,), each class evenly spread.

    So any leading part of them has nearly the same proportions.
    """
    exact = num * counts / counts.sum()
    shares = np.floor(exact).astype(np.int64)
    # Largest remainder method: the classes that lost most to rounding down get one label more.
    shares[np.argsort(shares - exact, kind="stable")[: num - shares.sum()]] += 1
    labels = np.repeat(np.arange(len(counts)), shares)
    position = np.concatenate([(np.arange(share) + 0.5) / max(share, 1) for share in shares])
    return labels[np.argsort(position, kind="stable")]
