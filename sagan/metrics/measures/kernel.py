"""Kernel distance: squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018).

The mean over random subsets of the unbiased estimate (Gretton et al. 2012, equation 3), with
k(x, y) = (x.y / D + 1)^3. On features of Inception with the canonical weights it is KID. Unlike
that of a Frechet distance, its expectation does not depend on the number of images; an estimate may
be slightly below 0.
"""

import numpy as np
from torch_fidelity.metric_kid import kernel_mmd

from sagan.types import Float32Array

KERNEL_SUBSETS, SUBSET_SIZE = 100, 1000


def kernel_distance(
    samples: Float32Array, reference: Float32Array, seed: int, subsets: int = KERNEL_SUBSETS
) -> tuple[float, float]:
    """Return mean and standard deviation of the distance over random subsets.

    Args:
        samples: features of generated images, (N, D), N >= 2.
        reference: features of real images, (M, D), M >= 2.
        seed: decides the subsets.
        subsets: their number. Each has `SUBSET_SIZE` images of each set, or all images of the
            smaller set if it has fewer.

    Returns:
        Mean, and standard deviation over subsets, which is not the standard error of the mean.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    size = min(SUBSET_SIZE, len(samples), len(reference))
    if size == len(samples) == len(reference):
        subsets = 1  # all of them would be the same

    def subset(features: Float32Array) -> Float32Array:
        return features[np.sort(rng.choice(len(features), size, replace=False))]

    values = [
        # The kernel is torch-fidelity's default; in float64, since its sums nearly cancel.
        kernel_mmd(subset(samples).astype(np.float64), subset(reference).astype(np.float64))
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))
