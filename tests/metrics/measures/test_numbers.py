"""Each metric against values computed by hand and an independent float64 implementation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_prc import prc_features_to_metric

from sagan.metrics.features import extraction
from sagan.metrics.measures import distances, kernel
from sagan.metrics.measures.density_coverage import DENSITY_NEIGHBORS, density_coverage
from sagan.metrics.measures.distances import nearest
from sagan.metrics.measures.frechet import frechet_distance, intra_frechet_distance, moments
from sagan.metrics.measures.inception_score import NUM_SPLITS, inception_score
from sagan.metrics.measures.kernel import kernel_distance
from sagan.metrics.measures.near_copies import NEAR_COPY_SHARE, near_copies
from sagan.metrics.measures.precision_recall import PRECISION_NEIGHBORS, precision_recall

TOLERANCE = 1e-5


def cloud(num: int, width: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal((num, width)) + shift).astype(np.float32)


def exact_gaussian(mean: float, deviation: float) -> np.ndarray:
    """Return 200 points in 3 dimensions with exactly this sample mean and covariance."""
    x = np.random.default_rng(0).standard_normal((200, 3))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return mean + deviation * x


# --- Frechet distance


def numpy_frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Compute it by the symmetric form of the root: tr (S1^(1/2) S2 S1^(1/2))^(1/2)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(s1)
    root = vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ s2 @ root), 0)).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * cross


def test_unit_and_shifted_doubled_gaussians_are_15_apart() -> None:
    """|2|^2 in 3 dimensions is 12, and tr(I + 4 I - 2 * 2 I) is 3."""
    distance = frechet_distance(exact_gaussian(0, 1), exact_gaussian(2, 2))
    assert distance == pytest.approx(15, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(300, 200), (19, 12), (12, 300)], ids=str)
def test_the_frechet_distance_agrees_with_the_symmetric_root(n: int, m: int) -> None:
    """In 20 dimensions, with more and with fewer images than dimensions."""
    a, b = cloud(n, 20, seed=1), cloud(m, 20, seed=2, scale=1.5, shift=0.3)
    assert frechet_distance(a, b) == pytest.approx(numpy_frechet(a, b), rel=TOLERANCE)


def test_moments_do_not_depend_on_the_number_of_rows_in_a_block(monkeypatch) -> None:
    x = cloud(101, 8, seed=3, shift=100)
    monkeypatch.setattr(extraction, "ROWS_PER_BLOCK", 7)
    found = moments(x)
    np.testing.assert_allclose(found["mu"], x.astype(np.float64).mean(axis=0), rtol=1e-12)
    expected = np.cov(x.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(found["sigma"], expected, rtol=1e-10, atol=1e-12)


def test_moments_of_large_features_keep_their_small_variance() -> None:
    """Sums of squares in float32, or in float64 without centering, would lose it."""
    x = cloud(500, 4, seed=4, shift=1e4)
    expected = np.cov(x.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(moments(x)["sigma"], expected, rtol=1e-9)


def test_the_intra_class_distance_is_the_mean_over_classes() -> None:
    a, b = cloud(90, 5, seed=5), cloud(120, 5, seed=6, scale=2)
    labels_a, labels_b = np.arange(90) % 3, np.arange(120) % 3
    expected = [numpy_frechet(a[labels_a == c], b[labels_b == c]) for c in range(3)]
    found, classes = intra_frechet_distance(a, labels_a, b, labels_b)
    assert classes == 3
    assert found == pytest.approx(np.mean(expected), rel=TOLERANCE)


def test_only_the_intra_class_distance_notices_swapped_classes() -> None:
    x = np.concatenate([cloud(200, 4, seed=7), cloud(200, 4, seed=8, shift=10)])
    labels = np.repeat([0, 1], 200)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert intra_frechet_distance(x, 1 - labels, x, labels)[0] > 100


# --- Kernel distance


def numpy_kernel(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the unbiased estimate as a sum over pairs (Gretton et al. 2012, equation 3)."""
    a, b = a.astype(np.float64), b.astype(np.float64)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (float(np.dot(x, y)) / len(x) + 1) ** 3

    n, m = len(a), len(b)
    within_a = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_a + within_b - 2 * sum(k(x, y) for x in a for y in b) / (n * m)


def test_the_kernel_distance_of_all_images_is_the_sum_over_pairs() -> None:
    a, b = cloud(30, 6, seed=1), cloud(30, 6, seed=2, shift=0.5)
    mean, deviation = kernel_distance(a, b, seed=0, subsets=3)
    assert mean == pytest.approx(numpy_kernel(a, b), rel=TOLERANCE)
    assert deviation == pytest.approx(0, abs=1e-12)  # every subset is the whole


def test_the_kernel_distance_is_the_mean_over_random_subsets(monkeypatch) -> None:
    monkeypatch.setattr(kernel, "SUBSET_SIZE", 10)
    a, b = cloud(40, 6, seed=1), cloud(50, 6, seed=2)
    mean, deviation = kernel_distance(a, b, seed=0)
    assert (mean, deviation) == kernel_distance(a, b, seed=0)
    assert mean != kernel_distance(a, b, seed=1)[0]
    assert abs(mean - numpy_kernel(a, b)) < 3 * deviation / 10
    assert deviation > 0


def test_the_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    """Unlike the Frechet distance, which is mostly bias with few samples."""
    pairs = [(cloud(60, 40, seed=i), cloud(60, 40, seed=100 + i)) for i in range(40)]
    kernels = [kernel_distance(a, b, seed=0, subsets=1)[0] for a, b in pairs]
    assert abs(np.mean(kernels)) < 3 * np.std(kernels) / np.sqrt(len(kernels))
    frechets = [frechet_distance(a, b) for a, b in pairs]
    assert np.mean(frechets) > 10 * np.std(frechets)


# --- Inception Score


def test_the_inception_score_agrees_with_its_definition() -> None:
    logits = cloud(200, 9, seed=1, scale=2)
    order = np.random.RandomState(5).permutation(200)
    scores = []
    for part in np.split(logits[order].astype(np.float64), NUM_SPLITS):
        p = np.exp(part) / np.exp(part).sum(axis=1, keepdims=True)
        marginal = p.mean(axis=0)
        scores.append(np.exp(np.mean(np.sum(p * (np.log(p) - np.log(marginal)), axis=1))))
    mean, deviation = inception_score(logits, seed=5)
    assert mean == pytest.approx(np.mean(scores), rel=TOLERANCE)
    assert deviation == pytest.approx(np.std(scores), rel=TOLERANCE)


def test_confident_varied_logits_score_the_number_of_classes_and_equal_ones_one() -> None:
    confident = np.tile(60 * np.eye(5, dtype=np.float32), (100, 1))
    assert inception_score(confident, seed=0)[0] == pytest.approx(5, rel=0.05)
    assert inception_score(np.zeros((100, 5), np.float32), seed=0)[0] == pytest.approx(1)
    assert inception_score(confident[np.zeros(100, int)], seed=0)[0] == pytest.approx(1)


# --- Precision, recall, density, coverage


def numpy_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))


def numpy_radii(x: np.ndarray, k: int) -> np.ndarray:
    return np.sort(numpy_distances(x, x), axis=1)[:, k]  # column 0 is the point itself


def test_precision_and_recall_agree_with_their_definition(monkeypatch) -> None:
    monkeypatch.setattr(distances, "DISTANCES_PER_BLOCK", 60 * 17)
    monkeypatch.setattr(extraction, "ROWS_PER_BLOCK", 13)
    fake, real = cloud(80, 4, seed=1, scale=0.8), cloud(60, 4, seed=2)
    d = numpy_distances(fake, real)
    precision = (d <= numpy_radii(real, PRECISION_NEIGHBORS)).any(axis=1).mean()
    radii = numpy_radii(fake, PRECISION_NEIGHBORS)
    recall = (radii[:, None] >= d).any(axis=0).mean()
    assert precision_recall(fake, real) == pytest.approx((precision, recall), abs=TOLERANCE)
    assert 0.3 < recall < precision < 1


@pytest.mark.parametrize(("n", "m"), [(200, 200), (120, 90)], ids=str)
def test_precision_and_recall_agree_with_torch_fidelity(n: int, m: int) -> None:
    fake, real = cloud(n, 4, seed=1, scale=0.8), cloud(m, 4, seed=2)
    expected = prc_features_to_metric(
        torch.from_numpy(fake).double(), torch.from_numpy(real).double(),
        prc_neighborhood=PRECISION_NEIGHBORS, prc_batch_size=50, save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    # torch-fidelity averages in float32.
    assert precision_recall(fake, real) == pytest.approx(
        (expected["precision"], expected["recall"]), rel=1e-6
    )


def test_density_and_coverage_agree_with_their_definition(monkeypatch) -> None:
    monkeypatch.setattr(distances, "DISTANCES_PER_BLOCK", 60 * 7)
    monkeypatch.setattr(extraction, "ROWS_PER_BLOCK", 13)
    fake, real = cloud(80, 4, seed=1, scale=0.6, shift=0.3), cloud(60, 4, seed=2)
    within = numpy_distances(fake, real) < numpy_radii(real, DENSITY_NEIGHBORS)
    density = within.sum() / (DENSITY_NEIGHBORS * len(fake))
    coverage = within.any(axis=0).mean()
    assert density_coverage(fake, real) == pytest.approx((density, coverage), abs=TOLERANCE)
    assert 0.3 < coverage < 1


def test_a_collapsed_cloud_has_precision_without_recall_and_its_mirror_the_reverse() -> None:
    """Swapped arguments would pass every test with two similar clouds."""
    whole, collapsed = cloud(400, 8, seed=1), cloud(400, 8, seed=2, scale=0.05)
    precision, recall = precision_recall(collapsed, whole)
    assert precision > 0.95
    assert recall < 0.05
    precision, recall = precision_recall(whole, collapsed)
    assert precision < 0.05
    assert recall > 0.95


def test_a_collapsed_cloud_has_density_without_coverage_and_its_mirror_neither() -> None:
    whole, collapsed = cloud(400, 8, seed=1), cloud(400, 8, seed=2, scale=0.01, shift=0.8)
    density, coverage = density_coverage(collapsed, whole)
    assert density > 1
    assert coverage < 0.2
    density, coverage = density_coverage(whole, collapsed)
    assert density < 0.05
    assert coverage < 0.05


def test_one_real_outlier_raises_precision_and_hardly_density() -> None:
    """Density was proposed for this case (Naeem et al. 2020, figure 3a)."""
    real, fake = cloud(400, 8, seed=1), cloud(400, 8, seed=2, shift=4)
    outlier = np.concatenate([real, np.full((1, 8), 12, np.float32)])
    raised = precision_recall(fake, outlier)[0] - precision_recall(fake, real)[0]
    assert raised > 0.9
    assert density_coverage(fake, outlier)[0] - density_coverage(fake, real)[0] < 0.25


def test_two_samples_of_one_distribution_score_the_same_both_ways() -> None:
    a, b = cloud(500, 16, seed=1), cloud(500, 16, seed=2)
    assert precision_recall(a, b) == pytest.approx(precision_recall(b, a)[::-1], abs=1e-12)
    density, coverage = density_coverage(a, b)
    assert density == pytest.approx(1, abs=0.15)
    assert coverage > 0.9  # 1 - 2^-5 in expectation


# --- Nearest neighbors


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(2, 30), st.integers(0, 99))
def test_nearest_neighbors_agree_with_a_full_distance_matrix(n: int, m: int, seed: int) -> None:
    a, b = cloud(n, 3, seed), cloud(m, 3, seed + 100)
    k = min(2, m)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "QUERIES_PER_BLOCK", 8)
        patch.setattr(extraction, "ROWS_PER_BLOCK", 7)
        found = nearest(a, b, k)
    d = numpy_distances(a, b)
    np.testing.assert_allclose(found.distances, np.sort(d, axis=1)[:, :k], rtol=1e-9)
    np.testing.assert_array_equal(found.indices, np.argsort(d, axis=1)[:, :k])


def test_a_copy_has_almost_no_distance_however_large_the_features() -> None:
    """In float32, distances from dot products would be off by more than 1."""
    x = cloud(50, 64, seed=0, shift=1000)
    assert nearest(x, x, 1).distances.max() < 1e-3


def test_near_copies_are_distinguished_from_new_images_of_the_same_distribution() -> None:
    train, new = cloud(3000, 4, seed=1), cloud(2000, 4, seed=2)
    unseen = nearest(new, train, 1).distances[:, 0]

    def measured(samples: np.ndarray) -> tuple[float, float]:
        return near_copies(nearest(samples, train, 1).distances[:, 0], unseen)

    honest = measured(cloud(2000, 4, seed=3))
    assert honest == (pytest.approx(NEAR_COPY_SHARE, abs=0.01), pytest.approx(0.5, abs=0.03))
    assert measured(train[:500] + 1e-4) == (1, 1)
    tenth = np.concatenate([cloud(1800, 4, seed=4), train[:200]])
    assert measured(tenth)[0] == pytest.approx(0.11, abs=0.02)
    assert measured(cloud(2000, 4, seed=5, shift=9)) == (0, pytest.approx(0, abs=0.01))


def test_a_mean_over_some_classes_comes_with_their_number() -> None:
    x, labels = cloud(9, 3, seed=1), np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    mean, classes = intra_frechet_distance(x, labels, x[::-1].copy(), labels[::-1].copy())
    assert classes == 2
    assert mean == pytest.approx(0, abs=1e-5)


def test_equal_distances_are_not_near_copies() -> None:
    assert near_copies(np.ones(10), np.ones(20)) == (0, 0.5)
