"""Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017).

|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) with means m and covariances S. On features of Inception
with the canonical weights it is FID.
"""

import numpy as np
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

from sagan.metrics.features.extraction import float64_blocks
from sagan.types import Float32Array, Float64Array, Int64Array


def moments(features: Float32Array) -> dict[str, Float64Array]:
    """Return float64 mean "mu" (D,) and covariance "sigma" (D, D) of features (N, D), N >= 2."""
    mean = sum(block.sum(axis=0) for block in float64_blocks(features)) / len(features)
    scatter = np.zeros((features.shape[1], features.shape[1]))
    for block in float64_blocks(features):
        centered = block - mean
        scatter += centered.T @ centered
    return {"mu": mean, "sigma": scatter / (len(features) - 1)}


def frechet_distance(samples: Float32Array, reference: Float32Array) -> float:
    """Return the distance, >= 0, between features (N, D) and (M, D), N, M >= 2."""
    if max(len(samples), len(reference)) < samples.shape[1]:
        return _distance_of_few(samples, reference)
    result = fid_statistics_to_metric(moments(samples), moments(reference), verbose=False)
    return float(result[KEY_METRIC_FID])


def _distance_of_few(samples: Float32Array, reference: Float32Array) -> float:
    """Return the same distance for N, M < D, without a (D, D) matrix.

    Let A and B be the centered features, divided by sqrt(N - 1) and sqrt(M - 1), so that S1 = A'A
    and S2 = B'B. Then tr (S1 S2)^(1/2) is the sum of the singular values of AB', which is (N, M).
    """
    mean_a, a = _centered(samples)
    mean_b, b = _centered(reference)
    shift = ((mean_a - mean_b) ** 2).sum()
    common = np.linalg.norm(a @ b.T, "nuc")
    return float(shift + (a**2).sum() + (b**2).sum() - 2 * common)


def _centered(features: Float32Array) -> tuple[Float64Array, Float64Array]:
    """Return the mean (D,) of features (N, D), and (features - mean) / sqrt(N - 1), in float64."""
    wide = features.astype(np.float64)
    mean = wide.mean(axis=0)
    return mean, (wide - mean) / np.sqrt(len(wide) - 1)


def intra_frechet_distance(
    samples: Float32Array,
    sample_labels: Int64Array,
    reference: Float32Array,
    reference_labels: Int64Array,
) -> tuple[float, int]:
    """Return the mean over classes of the distance within a class: intra-FID (Zhang et al. 2018).

    Classes with fewer than two images on either side are left out; at least one class must remain.

    Args:
        samples: float32 (N, D).
        sample_labels: int64 (N,), the requested classes.
        reference: float32 (M, D).
        reference_labels: int64 (M,).

    Returns:
        The mean, and the number of classes it is taken over.
    """
    distances = [
        frechet_distance(samples[sample_labels == label], reference[reference_labels == label])
        for label in np.unique(reference_labels)
        if min((sample_labels == label).sum(), (reference_labels == label).sum()) > 1
    ]
    return float(np.mean(distances)), len(distances)
