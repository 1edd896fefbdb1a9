"""How many seeds decide a claim, given how much seeds differ."""

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from sagan.studies.analysis.decisions import LEVEL, claim_bounds
from sagan.types import Float64Array

POWER = 0.9  # of a verdict, if the true effect is 0 or delta
NUM_QUANTILES = 500  # of the standard deviation that a study may find
MIN_PLANNED, MAX_PLANNED = 3, 10_000  # seeds
# With fewer seeds, levels computed for a normal mean let t tests err too often: 5.5% with 6 seeds,
# 5.3% with 12, instead of 5%.
MIN_FOR_LOOKS = 12
LOOKS = (0.5, 0.75, 1.0)  # shares of the seeds at which a study is looked at
ASSURANCE = 0.8  # that the planned deviation is at least the true one


def planned_looks(seeds: int) -> tuple[int, ...]:
    """Return the numbers of seeds at which a study is looked at, ending with all of them."""
    if seeds < MIN_FOR_LOOKS:
        return (seeds,)
    return tuple(dict.fromkeys(math.ceil(share * seeds) for share in LOOKS))


def direction_power(seeds: int, ratio: float, claims: int) -> float:
    """Return the probability that the last look finds the direction of an effect.

    Earlier looks can only add to it.

    Args:
        seeds: their number; looks are `planned_looks` of it.
        ratio: the effect, in standard deviations of the paired differences.
        claims: number of claims to correct for; none of the others is decided.
    """
    level = claim_bounds(LEVEL / claims, planned_looks(seeds))[0][-1]
    found, shift = _deviations_found(seeds), ratio * math.sqrt(seeds)
    return float(stats.norm.cdf(shift - stats.t.isf(level, seeds - 1) * found).mean())


def no_effect_power(seeds: int, ratio: float, claims: int) -> float:
    """Return the probability that, if there is no effect, the last look rules out one of delta.

    Args:
        seeds: their number; looks are `planned_looks` of it.
        ratio: delta, in standard deviations of the paired differences.
        claims: number of claims to correct for; none of the others is decided.
    """
    level = claim_bounds(LEVEL / claims, planned_looks(seeds))[1][-1]
    found, shift = _deviations_found(seeds), ratio * math.sqrt(seeds)
    within = 2 * stats.norm.cdf(shift - stats.t.isf(level, seeds - 1) * found) - 1
    return float(np.maximum(within, 0).mean())


def deciding_power(seeds: int, effect: float, ratio: float, claims: int) -> float:
    """Return the probability that the last look decides a claim, either way.

    Args:
        seeds: their number; looks are `planned_looks` of it.
        effect: the true one, in standard deviations of the paired differences.
        ratio: delta, in the same unit.
        claims: number of claims to correct for; none of the others is decided.
    """
    bounds = claim_bounds(LEVEL / claims, planned_looks(seeds))
    found, root = _deviations_found(seeds), math.sqrt(seeds)
    differs, small = (stats.t.isf(levels[-1], seeds - 1) * found for levels in bounds)
    # Means in between, on either side of 0, are too large for "no effect" and too small to differ.
    inner = np.clip(ratio * root - small, 0, differs)
    undecided = sum(
        stats.norm.cdf(differs - side * effect * root)
        - stats.norm.cdf(inner - side * effect * root)
        for side in (1, -1)
    )
    return float(1 - np.mean(undecided))


def _deviations_found(seeds: int) -> Float64Array:
    """Return quantiles of the standard deviation that a study finds, of the true one."""
    quantiles = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
    return np.sqrt(stats.chi2.ppf(quantiles, seeds - 1) / (seeds - 1))


def seeds_needed(ratio: float, claims: int, power: float = POWER) -> int | None:
    """Return the smallest number of seeds that decides a claim with this power.

    Args:
        ratio: delta, in standard deviations of the paired differences, above 0.
        claims: number of claims to correct for.
        power: of a verdict, both if the true effect is 0 and if it is delta.

    Returns:
        The number; None if it is above `MAX_PLANNED`.
    """
    return _smallest(
        lambda seeds: (
            min(direction_power(seeds, ratio, claims), no_effect_power(seeds, ratio, claims))
            >= power
        )
    )


def seeds_to_decide(effect: float, ratio: float, claims: int, power: float = POWER) -> int | None:
    """Return the smallest number of seeds that decides a claim whose effect is known.

    Args:
        effect: the true one, in standard deviations of the paired differences.
        ratio: delta, in the same unit, above 0.
        claims: number of claims to correct for.
        power: of a verdict, whichever.

    Returns:
        The number; None if it is above `MAX_PLANNED`.
    """
    return _smallest(lambda seeds: deciding_power(seeds, effect, ratio, claims) >= power)


def _smallest(suffices: Callable[[int], bool]) -> int | None:
    """Return the smallest number of seeds that suffices, if more of them always do."""
    if not suffices(MAX_PLANNED):
        return None
    too_few, enough = MIN_PLANNED - 1, MIN_PLANNED
    while not suffices(enough):
        too_few, enough = enough, min(2 * enough, MAX_PLANNED)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if suffices(middle) else (middle, enough)
    return enough


def upper_deviation(deviation: float, degrees: int) -> float:
    """Return the upper confidence limit of a standard deviation, at `ASSURANCE`.

    A study that is planned with the estimate itself has too few seeds about half the time
    (Kieser & Wassmer 1996).
    """
    return deviation * math.sqrt(degrees / stats.chi2.ppf(1 - ASSURANCE, degrees))
