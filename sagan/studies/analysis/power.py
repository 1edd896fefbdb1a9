"""How many seeds decide a claim, given how much seeds differ."""

import math

import numpy as np
from scipy import stats

from sagan.studies.analysis.decisions import LEVEL, claim_bounds

POWER = 0.9  # of a verdict, if the true effect is 0 or delta
NUM_QUANTILES = 500  # of the standard deviation that a study may find
MIN_PLANNED, MAX_PLANNED = 3, 10_000  # seeds
MIN_FOR_LOOKS = 6  # with fewer seeds, looking early decides nothing
LOOKS = (0.5, 0.75, 1.0)  # shares of the seeds at which a study is looked at
ASSURANCE = 0.8  # that the planned deviation is at least the true one


def planned_looks(seeds: int) -> tuple[int, ...]:
    """Return the numbers of seeds at which a study is looked at, ending with all of them."""
    if seeds < MIN_FOR_LOOKS:
        return (seeds,)
    return tuple(dict.fromkeys(math.ceil(share * seeds) for share in LOOKS))


def decisive_power(
    seeds: int, ratio: float, claims: int, looks: tuple[int, ...] | None = None
) -> tuple[float, float]:
    """Return the probabilities that the last look decides a claim.

    Args:
        seeds: their number.
        ratio: delta, in standard deviations of the paired differences.
        claims: number of claims to correct for; none of the others is decided.
        looks: planned looks; by default only one.

    Returns:
        Of "supported", or "contradicted", if the true effect is delta; of "no effect larger than
        delta" if it is 0. Earlier looks can only add to them.
    """
    one_sided, two_one_sided = claim_bounds(LEVEL / claims, looks or (seeds,))
    degrees = seeds - 1
    quantiles = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
    found = np.sqrt(stats.chi2.ppf(quantiles, degrees) / degrees)  # of the true deviation
    shift = ratio * math.sqrt(seeds)
    direction = stats.norm.cdf(shift - stats.t.isf(one_sided[-1], degrees) * found)
    within = 2 * stats.norm.cdf(shift - stats.t.isf(two_one_sided[-1], degrees) * found) - 1
    return float(direction.mean()), float(np.maximum(within, 0).mean())


def seeds_needed(ratio: float, claims: int, power: float = POWER) -> int | None:
    """Return the smallest number of seeds that decides a claim with this power.

    Args:
        ratio: delta, in standard deviations of the paired differences, above 0.
        claims: number of claims to correct for.
        power: of a verdict, both if the true effect is 0 and if it is delta.

    Returns:
        The number; None if it is above `MAX_PLANNED`.
    """

    def suffices(seeds: int) -> bool:
        return min(decisive_power(seeds, ratio, claims, planned_looks(seeds))) >= power

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
