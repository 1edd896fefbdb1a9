"""Density and coverage (Naeem et al. 2020, equations 3 and 4).

Every real picture has a ball that reaches to its k-th nearest other real picture. Density: how many
balls a sample lies in on average, over k; an outlier with a huge ball counts once instead of
deciding. Coverage: the share of real pictures whose ball holds a sample.
"""

import torch

from sagan.metrics.measures.distances import distance_blocks
from sagan.types import Float32Array

NEIGHBORS = 5


def density_coverage(samples: Float32Array, reference: Float32Array) -> tuple[float, float]:
    """Density and coverage of features (N, D) and (M, D), M > `NEIGHBORS`.

    Near 1 where both come from one distribution; density may exceed 1, coverage may not.
    """
    radii = torch.cat([
        # The nearest is the picture itself, at distance 0.
        block.kthvalue(NEIGHBORS + 1, dim=1).values
        for block in distance_blocks(reference, reference)
    ])  # (M,)  # fmt: skip
    balls, covered = 0, torch.zeros(len(reference), dtype=torch.bool)
    for block in distance_blocks(samples, reference):
        within = block < radii  # (n, M)
        balls += int(within.sum())
        covered |= within.any(dim=0)
    return balls / (NEIGHBORS * len(samples)), float(covered.double().mean())
