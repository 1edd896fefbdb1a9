"""How near samples come to the pictures that a model was trained on.

A model that draws from the true distribution comes as near to its training pictures as new pictures
do; one that copies comes nearer (the idea of Meehan et al. 2020, arXiv 2004.05675).
"""

import numpy as np
import numpy.typing as npt

NEAREST = 0.01  # share of new pictures that come as near as what is called near a copy


def near_copies(
    samples: npt.NDArray[np.float64], unseen: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Compare distances to the nearest training picture, of samples (N,) and unseen pictures (M,).

    Returns:
        The share of samples that are nearer than all but `NEAREST` of the unseen pictures, which is
        `NEAREST` for a model that draws from the true distribution; and the probability that a
        sample is nearer than an unseen picture, then 1/2. Both are 1 for exact copies, and near 0
        for samples that are far from all pictures: neither less nor more is better.
    """
    ordered = np.sort(unseen)
    threshold = ordered[int(NEAREST * len(ordered))]
    nearer = np.searchsorted(ordered, samples, side="left")  # unseen pictures nearer than a sample
    as_near = np.searchsorted(ordered, samples, side="right")  # or as near
    farther = len(ordered) - (nearer + as_near) / 2  # ties count half
    return float((samples < threshold).mean()), float(farther.mean() / len(ordered))
