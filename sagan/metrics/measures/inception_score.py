"""Inception Score (Salimans et al. 2016): exp of the mean of KL(p(y|x) || p(y)).

High where a classifier is sure about each picture and sees all classes over all pictures. It looks
at no real pictures.
"""

import torch
from torch_fidelity.metric_isc import (
    KEY_METRIC_ISC_MEAN,
    KEY_METRIC_ISC_STD,
    isc_features_to_metric,
)

from sagan.types import Float32Array

SPLITS = 10


def inception_score(logits: Float32Array, seed: int) -> tuple[float, float]:
    """Mean and standard deviation over `SPLITS` parts of logits (N, K), shuffled by `seed`."""
    result = isc_features_to_metric(
        torch.from_numpy(logits.copy()), splits=SPLITS, shuffle=True, rng_seed=seed % 2**32
    )
    return float(result[KEY_METRIC_ISC_MEAN]), float(result[KEY_METRIC_ISC_STD])
