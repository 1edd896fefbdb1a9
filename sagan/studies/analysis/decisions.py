"""Verdicts on the claims of a study, from paired differences over seeds.

Of each claim two things are tested. Does the mean advantage differ from 0? (Student's t test,
two-sided.) Is it smaller than delta, the smallest effect of interest, in either direction? (Two
one-sided tests, Schuirmann 1987.) The first supports or contradicts the claim, the second rules
out an effect worth having. A mean cannot be both 0 and as large as delta, so only one of the two
can be wrong about a claim, and each has the whole level. Over the claims of a study each is
corrected by Holm (1979), over looks by `nominal_levels`.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
from scipy import stats

from sagan.studies.analysis.sequential import nominal_levels
from sagan.types import Float64Array, Int64Array

# Of a wrong direction of any claim of a study, and of a wrong "no effect" of any.
LEVEL = 0.05

Verdict: TypeAlias = Literal[
    "undecided", "supported", "contradicted", "no effect larger than delta"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
UNDECIDED, SUPPORTED, CONTRADICTED, NO_EFFECT = range(4)  # places in VERDICTS
MIN_SEEDS = 2  # for a test


def evidence(advantages: Float64Array, margins: Float64Array) -> Float64Array:
    """Return one-sided p-values against the three kinds of verdict: (..., 3).

    A margin that is a share of the other variant's number is as random as that number. It is
    therefore subtracted seed by seed, which makes the test one of the ratio of two means
    (Sasabuchi 1988).

    Args:
        advantages: paired differences, (..., seeds).
        margins: delta by seed, (..., seeds), or something that broadcasts.

    Returns:
        p-values of "not better" (to support), "not worse" (to contradict) and "an effect of delta
        or more". 1 where there are too few seeds, or where all differences are equal and so do not
        tell how much seeds vary.
    """
    better = _p_positive(advantages)
    worse = _p_positive(-advantages)
    small = np.maximum(_p_positive(margins + advantages), _p_positive(margins - advantages))
    return np.stack([better, worse, np.where(better + worse > 1.5, 1.0, small)], axis=-1)


def _p_positive(values: Float64Array) -> Float64Array:
    """Return p-values of a mean that is not above 0, one for each row (..., seeds) -> (...)."""
    num = values.shape[-1]
    if num < MIN_SEEDS:
        return np.ones(values.shape[:-1])
    mean, error = values.mean(axis=-1), values.std(axis=-1, ddof=1) / np.sqrt(num)
    varies = error > 1e-9 * np.abs(values).max(axis=-1)
    statistic = np.divide(mean, error, out=np.zeros_like(mean), where=varies)
    return np.where(varies, stats.t.sf(statistic, num - 1), 1.0)


def settle(
    p: Float64Array, looks: Sequence[int], family: int | None = None, level: float = LEVEL
) -> Int64Array:
    """Return the verdicts on all claims of a study after one or more looks.

    What a test found at an earlier look stays found. A claim that is better than nothing and
    certainly by less than delta has no effect larger than delta.

    Args:
        p: p-values as `evidence` returns them at each look so far: (looks, ..., claims, 3).
        looks: seeds at all planned looks, at least as many as `p` has.
        family: number of claims to correct for, if there are more than `p` has.
        level: of a wrong direction on any claim, and of a wrong "no effect" on any claim.

    Returns:
        Places in `VERDICTS`: (..., claims).
    """
    family = family or p.shape[-2]
    bounds = [claim_bounds(level / left, looks) for left in range(1, family + 1)]
    one_sided, two_one_sided = np.moveaxis(np.array(bounds), 0, -1)  # each (2, looks, family)
    better, worse, small = np.moveaxis(p, -1, 0)
    differs, small_enough = (
        _holm(found, bounds)
        for found, bounds in ((np.minimum(better, worse), one_sided), (small, two_one_sided))
    )
    at_finding = np.maximum(differs, 0)[None]
    is_better = np.take_along_axis(better < worse, at_finding, axis=0)[0]
    return np.select(
        [small_enough >= 0, (differs >= 0) & is_better, differs >= 0],
        [NO_EFFECT, SUPPORTED, CONTRADICTED],
        UNDECIDED,
    )


def _holm(p: Float64Array, bounds: Float64Array) -> Int64Array:
    """Return the look, from 0, at which a test finds something of each claim; -1 if at none.

    Args:
        p: (looks, ..., claims).
        bounds: of p, by look and by the number of claims left less one: (looks, family).
    """
    family = bounds.shape[1]
    found_at = np.full(p.shape[1:], -1)
    for look, values in enumerate(p):
        for _ in range(p.shape[-1]):  # each finding widens the level of the claims that are left
            left = family - (found_at >= 0).sum(axis=-1, keepdims=True)
            found = values <= bounds[look][np.maximum(left, 1) - 1]
            found_at[found & (found_at < 0)] = look
    return found_at


def claim_bounds(level: float, looks: Sequence[int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the bounds, by look, of a claim's p-values: of a direction, of "no effect".

    A direction has half of the level, because either would be reported.
    """
    return nominal_levels(level / 2, tuple(looks)), nominal_levels(level, tuple(looks))
