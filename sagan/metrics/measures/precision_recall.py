"""Improved precision and recall (Kynkaanniemi et al. 2019, equations 1 and 2).

Every image has a ball that reaches to its k-th nearest other image of its own set. Precision is
the share of samples in the ball of some real image; recall is the share of real images in the ball
of some sample.
"""

import torch

from sagan.metrics.measures.distances import distance_blocks, neighbor_radii
from sagan.types import Float32Array

PRECISION_NEIGHBORS = 3  # k


def precision_recall(samples: Float32Array, reference: Float32Array) -> tuple[float, float]:
    """Return precision and recall, in [0, 1], of features (N, D) and (M, D).

    Each set needs more than `PRECISION_NEIGHBORS` images.
    """
    real_radii = neighbor_radii(reference, PRECISION_NEIGHBORS)  # (M,)
    sample_radii = neighbor_radii(samples, PRECISION_NEIGHBORS)  # (N,)
    precise, recalled = 0, torch.zeros(len(reference), dtype=torch.bool)
    first = 0
    for block in distance_blocks(samples, reference):  # (n, M)
        radii = sample_radii[first : first + len(block), None]  # (n, 1)
        precise += int((block <= real_radii).any(dim=1).sum())
        recalled |= (block <= radii).any(dim=0)
        first += len(block)
    return precise / len(samples), float(recalled.double().mean())
