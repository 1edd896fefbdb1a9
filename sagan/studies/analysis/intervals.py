"""Intervals of the mean difference between two variants, over a few seeds.

Runs are paired by seed, which decides data order, augmentation, latents and the initial weights of
all layers that two variants share. Student's interval belongs to the tests in decisions.py. The
percentile bootstrap is reported beside it because it is customary, but decides nothing: resampled
means never leave the range of the differences, so with three seeds it excludes 0 whenever all three
have the same sign, which happens in a quarter of the cases where nothing differs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from sagan.types import Float64Array

CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences and its intervals at `CONFIDENCE`.

    Attributes:
        values: one difference for each seed.
        mean: their mean.
        low: lower end of Student's interval; -inf with one seed.
        high: upper end of Student's interval; inf with one seed.
    """

    values: tuple[float, ...]
    mean: float
    low: float
    high: float

    @property
    def bootstrap(self) -> tuple[float, float]:
        """Both ends of the percentile bootstrap interval of the mean (Efron 1979)."""
        if len(self.values) == 1:
            return self.mean, self.mean
        found = stats.bootstrap(
            (np.array(self.values),),
            np.mean,
            confidence_level=CONFIDENCE,
            n_resamples=RESAMPLES,
            method="percentile",
            random_state=np.random.Generator(np.random.Philox(0)),
        )
        return float(found.confidence_interval.low), float(found.confidence_interval.high)


def paired_difference(values: Sequence[float] | Float64Array) -> Difference:
    """Summarize paired differences, one or more."""
    array = np.asarray(values, dtype=np.float64)
    low, high = _student_interval(array)
    return Difference(tuple(map(float, array)), float(array.mean()), low, high)


def _student_interval(values: Float64Array) -> tuple[float, float]:
    """Return the interval mean +- t * s / sqrt(n) (Student 1908), with n - 1 degrees of freedom."""
    if len(values) == 1:
        return -math.inf, math.inf
    mean, error = float(values.mean()), float(stats.sem(values))
    if error == 0:  # SciPy would return nan
        return mean, mean
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, loc=mean, scale=error)
    return float(low), float(high)


def interval_over_images(differences: Float64Array, mean: float) -> tuple[float, float]:
    """Return an interval of a mean difference over seeds and over images, at `CONFIDENCE`.

    Student's interval over seeds holds for the images that were measured. This one is wider by how
    much blocks of images differ: seeds and blocks are crossed random effects, each with its mean
    square, and degrees of freedom follow from Satterthwaite (1946).

    Args:
        differences: by seed and block of images, (seeds, blocks), at least 2 x 2.
        mean: the mean difference, on all images.
    """
    seeds, blocks = differences.shape
    by_seed = differences.mean(axis=1, keepdims=True)
    by_block = differences.mean(axis=0, keepdims=True)
    rest = differences - by_seed - by_block + differences.mean()
    squares = np.array(
        [
            blocks * by_seed.var(ddof=1),
            seeds * by_block.var(ddof=1),
            (rest**2).sum() / ((seeds - 1) * (blocks - 1)),
        ]
    )
    degrees = np.array([seeds - 1, blocks - 1, (seeds - 1) * (blocks - 1)])
    combined = squares @ [1, 1, -1]
    freedom = combined**2 / (squares**2 / degrees).sum() if combined > 0 else 1.0
    reach = max(  # never less than over seeds alone
        stats.t.isf((1 - CONFIDENCE) / 2, free) * math.sqrt(max(square, 0) / differences.size)
        for square, free in ((combined, freedom), (squares[0], seeds - 1))
    )
    return mean - reach, mean + reach
