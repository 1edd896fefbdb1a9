"""Frechet distance between two sets of features seen as Gaussians (Heusel et al. 2017).

|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) with means m and covariances S. On features of Inception
with the canonical weights it is the FID.
"""

import numpy as np
import numpy.typing as npt
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

from sagan.metrics.features.extraction import float64_blocks
from sagan.types import Float32Array, Float64Array


def moments(features: Float32Array) -> dict[str, Float64Array]:
    """Mean "mu" (D,) and covariance "sigma" (D, D) of features (N, D), in float64, N >= 2."""
    mean = sum(block.sum(axis=0) for block in float64_blocks(features)) / len(features)
    scatter = np.zeros((features.shape[1], features.shape[1]))
    for block in float64_blocks(features):
        centered = block - mean
        scatter += centered.T @ centered
    return {"mu": mean, "sigma": scatter / (len(features) - 1)}


def frechet_distance(samples: Float32Array, reference: Float32Array) -> float:
    """The distance between features (N, D) and (M, D), N, M >= 2; 0 for the same Gaussian."""
    if max(len(samples), len(reference)) < samples.shape[1]:
        return _distance_of_few(samples, reference)
    result = fid_statistics_to_metric(moments(samples), moments(reference), verbose=False)
    return float(result[KEY_METRIC_FID])


def _distance_of_few(samples: Float32Array, reference: Float32Array) -> float:
    """The same number of fewer pictures than features, without a (D, D) matrix.

    With A and B the centered features over the square roots of N - 1 and M - 1, S1 = A'A and
    S2 = B'B; then tr (S1 S2)^(1/2) is the sum of the singular values of AB', which is (N, M).
    """
    mean_a, a = _centered(samples)
    mean_b, b = _centered(reference)
    shift = ((mean_a - mean_b) ** 2).sum()
    common = np.linalg.norm(a @ b.T, "nuc")
    return float(shift + (a**2).sum() + (b**2).sum() - 2 * common)


def _centered(features: Float32Array) -> tuple[Float64Array, Float64Array]:
    """The mean (D,) of features (N, D), and what is left over it by sqrt(N - 1)."""
    wide = features.astype(np.float64)
    mean = wide.mean(axis=0)
    return mean, (wide - mean) / np.sqrt(len(wide) - 1)


def intra_frechet_distance(
    samples: Float32Array,
    sample_labels: npt.NDArray[np.int64],
    reference: Float32Array,
    reference_labels: npt.NDArray[np.int64],
) -> tuple[float, int]:
    """The mean over classes of the distance within the class: intra-FID (Zhang et al. 2018).

    Args:
        samples: (N, D).
        sample_labels: int64 (N,), the classes asked for.
        reference: (M, D).
        reference_labels: int64 (M,). Classes with fewer than two pictures on either side are left
            out; there has to be one that is not.

    Returns:
        The mean, and over how many classes it is.
    """
    distances = [
        frechet_distance(samples[sample_labels == label], reference[reference_labels == label])
        for label in np.unique(reference_labels)
        if min((sample_labels == label).sum(), (reference_labels == label).sum()) > 1
    ]
    return float(np.mean(distances)), len(distances)
