"""How close samples come to the images that a model was trained on.

A model that draws from the true distribution comes as close to its training images as new images
do; a model that copies comes closer (the idea of Meehan et al. 2020, arXiv 2004.05675).
"""

import numpy as np

from sagan.types import Float64Array

NEAR_COPY_SHARE = 0.01  # of new images: the closest ones, which set the threshold


def near_copies(samples: Float64Array, unseen: Float64Array) -> tuple[float, float]:
    """Compare distances to the nearest training image, of samples (N,) and of unseen images (M,).

    Returns:
        The share of samples that are closer than all but `NEAR_COPY_SHARE` of the unseen images,
        and the probability that a sample is closer than an unseen image, ties counted half. A
        model that draws from the true distribution has `NEAR_COPY_SHARE` and 1/2; exact copies
        have 1 and 1; samples far from all images have values near 0. So neither less nor more is
        better.
    """
    ordered = np.sort(unseen)
    threshold = ordered[int(NEAR_COPY_SHARE * len(ordered))]
    closer = np.searchsorted(ordered, samples, side="left")  # unseen images closer than a sample
    as_close = np.searchsorted(ordered, samples, side="right")  # or as close
    farther = len(ordered) - (closer + as_close) / 2
    return float((samples < threshold).mean()), float(farther.mean() / len(ordered))
