"""Kernel distance: squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018).

The mean, over random subsets, of the unbiased estimate with k(x, y) = (x.y / D + 1)^3. On features
of Inception with the canonical weights it is the KID. Unlike a Frechet distance its expectation
does not depend on how many pictures there are; it may be a little below 0.
"""

import numpy as np
from torch_fidelity.metric_kid import kernel_mmd

from sagan.types import Float32Array

SUBSETS, SUBSET_SIZE = 100, 1000


def kernel_distance(
    samples: Float32Array, reference: Float32Array, seed: int, subsets: int = SUBSETS
) -> tuple[float, float]:
    """Mean and standard deviation over subsets of features (N, D) and (M, D).

    Args:
        samples: of generated pictures, N >= 2.
        reference: of real ones, M >= 2.
        seed: decides the subsets.
        subsets: how many, of `SUBSET_SIZE` pictures each; of all if there are fewer, and then they
            are all the same. Their deviation is not that of the mean.
    """
    random = np.random.Generator(np.random.Philox(seed))
    size = min(SUBSET_SIZE, len(samples), len(reference))

    def subset(features: Float32Array) -> Float32Array:
        return features[np.sort(random.choice(len(features), size, replace=False))]

    values = [
        # The kernel is torch-fidelity's default; in float64, since its sums nearly cancel.
        kernel_mmd(subset(samples).astype(np.float64), subset(reference).astype(np.float64))
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))
