"""Inception Score (Salimans et al. 2016): exp of the mean of KL(p(y|x) || p(y)).

High if a classifier is sure about each image and finds all classes among all images. Real images
play no part in it.
"""

import torch
from torch_fidelity.metric_isc import (
    KEY_METRIC_ISC_MEAN,
    KEY_METRIC_ISC_STD,
    isc_features_to_metric,
)

from sagan.types import Float32Array

NUM_SPLITS = 10


def inception_score(logits: Float32Array, seed: int) -> tuple[float, float]:
    """Return mean and standard deviation of the score over `NUM_SPLITS` parts of the samples.

    Args:
        logits: of the samples, (N, K), N >= `NUM_SPLITS`.
        seed: shuffles the samples before they are split.

    Returns:
        Mean, in [1, K], and standard deviation.
    """
    result = isc_features_to_metric(
        torch.from_numpy(logits.copy()), splits=NUM_SPLITS, shuffle=True, rng_seed=seed % 2**32
    )
    return float(result[KEY_METRIC_ISC_MEAN]), float(result[KEY_METRIC_ISC_STD])
