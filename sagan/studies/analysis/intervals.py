"""What the differences between two variants over a few seeds allow us to say.

Runs are paired by seed, which decides data order, augmentation, latents and initial weights; the
initial weights still differ between variants with different layers. The verdict follows from
Student's interval of the mean difference. The percentile bootstrap is reported beside it because
it is customary, but decides nothing: resampled means never leave the range of the differences, so
with three seeds it excludes 0 whenever all three have the same sign, which happens in a quarter of
the cases where nothing differs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats

from sagan.types import Float64Array

CONFIDENCE = 0.95
RESAMPLES = 10_000

Verdict: TypeAlias = Literal["supported", "not supported", "undecided"]


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


def paired_difference(values: Sequence[float]) -> Difference:
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


def verdict(advantage: Difference) -> Verdict:
    """Return the verdict on a claim, given the advantage of the variant claimed to be better.

    "supported" if the interval lies above 0, "not supported" if it lies below, else "undecided".
    If nothing differs and differences are normal, a claim is called supported in 2.5% of the
    cases. Differences that are all equal, such as counts, do not tell how much seeds vary.
    """
    if math.isclose(advantage.low, advantage.high, rel_tol=1e-9):
        return "undecided"
    if advantage.low > 0:
        return "supported"
    return "not supported" if advantage.high < 0 else "undecided"
