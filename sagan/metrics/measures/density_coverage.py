"""Density and coverage (Naeem et al. 2020, equations 3 and 4).

Every real image has a ball that reaches to its k-th nearest other real image. Density is the
average number of balls that contain a sample, divided by k; an outlier with a huge ball counts once
instead of deciding alone. Coverage is the share of real images with a sample in their ball.
"""

import torch

from sagan.metrics.measures.distances import distance_blocks, neighbor_radii
from sagan.types import Float32Array

DENSITY_NEIGHBORS = 5  # k


def density_coverage(samples: Float32Array, reference: Float32Array) -> tuple[float, float]:
    """Return density and coverage of features (N, D) and (M, D), M > `DENSITY_NEIGHBORS`.

    Both are near 1 if samples and reference have the same distribution; density may exceed 1,
    coverage is in [0, 1].
    """
    radii = neighbor_radii(reference, DENSITY_NEIGHBORS)  # (M,)
    balls, covered = 0, torch.zeros(len(reference), dtype=torch.bool)
    for block in distance_blocks(samples, reference):
        within = block < radii  # (n, M)
        balls += int(within.sum())
        covered |= within.any(dim=0)
    return balls / (DENSITY_NEIGHBORS * len(samples)), float(covered.double().mean())
