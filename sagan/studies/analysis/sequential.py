"""Significance levels for looking at a study several times before its last seed.

Lan & DeMets (1983): the level is spent as the study advances, little at first, so that all looks
together stay within it. Ours is their approximation of O'Brien & Fleming (1979). The levels are
computed for a normal mean, by the recursive integration of Armitage et al. (1969), and applied to
the p-values of t tests.
"""

import functools
import math

import numpy as np
from scipy import optimize, stats

from sagan.types import Float64Array

NUM_NODES = 100  # of the quadrature; bounds are exact to six digits
_UNIT_NODES = np.polynomial.legendre.leggauss(NUM_NODES)  # on [-1, 1]
REACH = 8.0  # standard deviations below 0 at which integration begins


def spent_level(level: float, fraction: float) -> float:
    """Return how much of a one-sided level is spent by this fraction of the seeds, in (0, 1]."""
    return float(2 * stats.norm.sf(stats.norm.isf(level / 2) / math.sqrt(fraction)))


@functools.cache
def nominal_levels(level: float, looks: tuple[int, ...]) -> tuple[float, ...]:
    """Return the one-sided level of the test at each look.

    Args:
        level: of all looks together, in (0, 1).
        looks: numbers of seeds at which the study is looked at, ascending, at least one.
    """
    fractions = [look / looks[-1] for look in looks]
    spent = [0.0, *(spent_level(level, fraction) for fraction in fractions)]
    first = stats.norm.isf(spent[1])
    found, bounds = [spent[1]], [first]
    # The sum of the first k seeds is Brownian motion at time t_k: density on the paths that have
    # not crossed a bound so far.
    nodes, weights = _quadrature(fractions[0], first)
    density = stats.norm.pdf(nodes, scale=math.sqrt(fractions[0]))
    for k in range(1, len(looks)):
        step = math.sqrt(fractions[k] - fractions[k - 1])
        mass = weights * density
        root = math.sqrt(fractions[k])
        rest = spent[k + 1] - spent[k]
        bound = optimize.brentq(
            lambda z, nodes=nodes, mass=mass, root=root, step=step, rest=rest: (
                float(mass @ stats.norm.sf((z * root - nodes) / step)) - rest
            ),
            -REACH,
            REACH * 5,
        )
        bounds.append(bound)
        found.append(float(stats.norm.sf(bound)))
        later, weights = _quadrature(fractions[k], bound)
        density = stats.norm.pdf(later[:, None], loc=nodes, scale=step) @ mass
        nodes = later
    return tuple(found)


def _quadrature(fraction: float, bound: float) -> tuple[Float64Array, Float64Array]:
    """Return nodes and weights for integrals over sums that are below a bound at this look."""
    root = math.sqrt(fraction)
    nodes, weights = _UNIT_NODES
    low, high = -REACH * root, bound * root
    return low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2
