"""What differences between two variants over a few seeds allow to be said.

Runs are paired by seed, which decides order of the data, augmentation and latents, and initial
weights too, but these differ between variants with different layers. The verdict follows from
Student's interval of the mean difference. The percentile bootstrap is given beside it
for what it is usually given for, but decides nothing: the means of resampled differences never
leave their range, so that with three seeds it excludes 0 whenever all three have one sign, which
is a quarter of the cases where nothing differs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 10_000

Verdict: TypeAlias = Literal["supported", "not supported", "undecided"]


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences and its intervals at `CONFIDENCE`.

    Attributes:
        values: one for each seed.
        mean: of them.
        low: end of Student's interval; -inf with one seed.
        high: the other end.
    """

    values: tuple[float, ...]
    mean: float
    low: float
    high: float

    @property
    def bootstrap(self) -> tuple[float, float]:
        """Both ends of the percentile bootstrap interval."""
        values = np.array(self.values)
        random = np.random.Generator(np.random.Philox(0))
        drawn = random.integers(len(values), size=(RESAMPLES, len(values)))
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(values[drawn].mean(axis=1), [tail, 1 - tail])
        return float(low), float(high)


def paired_difference(values: Sequence[float]) -> Difference:
    """Summarize paired differences, one or more."""
    array = np.asarray(values, dtype=np.float64)
    mean, num = float(array.mean()), len(array)
    half = math.inf
    if num > 1:
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1))
        half = quantile * float(array.std(ddof=1)) / math.sqrt(num)
    return Difference(tuple(map(float, array)), mean, mean - half, mean + half)


def verdict(advantage: Difference) -> Verdict:
    """What is said of a claim, given the advantage of the variant claimed to be better.

    "supported" where the interval lies above 0, "not supported" where it lies below, else
    "undecided". Where nothing differs and differences are normal, a claim is called supported in
    2.5 % of the cases. Differences that are all equal, as of counts, say nothing of their spread.
    """
    if math.isclose(advantage.low, advantage.high, rel_tol=1e-9):
        return "undecided"
    if advantage.low > 0:
        return "supported"
    return "not supported" if advantage.high < 0 else "undecided"
