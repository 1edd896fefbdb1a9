"""Improved precision and recall (Kynkaanniemi et al. 2019).

Precision: the share of samples within some real picture's ball, which reaches to its k-th nearest
real neighbor. Recall: the share of real pictures within some sample's ball.
"""

import numpy as np
import torch
from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

from sagan.types import Float32Array

NEIGHBORS = 3
BLOCK = 1000  # rows of the table of distances at a time: bounds memory


def precision_recall(samples: Float32Array, reference: Float32Array) -> tuple[float, float]:
    """Precision and recall of features (N, D) and (M, D), more than `NEIGHBORS` of each."""
    # float64: torch takes distances from dot products, and neighbors may be close.
    result = prc_features_to_metric(
        torch.from_numpy(samples.astype(np.float64)),
        torch.from_numpy(reference.astype(np.float64)),
        prc_neighborhood=NEIGHBORS,
        prc_batch_size=BLOCK,
        save_cpu_ram=True,
        verbose=False,
    )
    return result[KEY_METRIC_PRECISION], result[KEY_METRIC_RECALL]
