"""Metrics at their edges: ties, classes of two, seeds, inputs that must not change."""

import numpy as np
import pytest

from sagan.metrics.measures import kernel
from sagan.metrics.measures.density_coverage import density_coverage
from sagan.metrics.measures.frechet import frechet_distance, intra_frechet_distance
from sagan.metrics.measures.inception_score import inception_score
from sagan.metrics.measures.inputs import Features, MetricInputs, proportional_labels
from sagan.metrics.measures.kernel import kernel_distance
from sagan.metrics.measures.near_copies import near_copies
from sagan.metrics.measures.precision_recall import precision_recall
from sagan.metrics.measures.table import METRICS


def cloud(num: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num, width)).astype(np.float32)


def on_a_line(*places: float) -> np.ndarray:
    return np.array(places, np.float32)[:, None]


def test_a_sample_on_the_edge_of_a_ball_is_precise_but_not_in_its_density() -> None:
    """The papers' balls are closed for precision and recall, their code's open for density."""
    real = on_a_line(0, 1, 2, 3)  # the third nearest other image of 0 and of 3 is 3 away
    fake = on_a_line(6, 7, 8, 9)  # those of 6 and of 9 likewise: 6 - 3 = 3
    assert precision_recall(fake, real) == (1 / 4, 1 / 4)
    real = on_a_line(0, 1, 2, 3, 4, 5)  # the fifth nearest of 5 is 5 away
    assert density_coverage(on_a_line(10), real) == (0, 0)
    assert density_coverage(on_a_line(9.75), real) == (1 / 5, 1 / 6)


def test_a_class_of_two_images_counts_and_one_with_a_single_image_on_either_side_does_not() -> None:
    real, fake = cloud(8, 2, seed=1), cloud(8, 2, seed=2)
    labels = np.array([0, 0, 1, 1, 1, 2, 2, 2])
    fewer = np.array([0, 0, 1, 2, 2, 2, 3, 3])  # a single sample of class 1
    expected = [frechet_distance(fake[fewer == c], real[labels == c]) for c in (0, 2)]
    found = intra_frechet_distance(fake, fewer, real, labels)
    assert found == (pytest.approx(np.mean(expected), rel=1e-12), 2)
    found = intra_frechet_distance(real, labels, fake, fewer)
    assert found == (pytest.approx(np.mean(expected), rel=1e-9), 2)


def test_a_seed_gives_the_same_kernel_distance_on_every_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole numbers, so that only other subsets would give another value."""
    monkeypatch.setattr(kernel, "SUBSET_SIZE", 4)
    a, b = (np.arange(24.0, dtype=np.float32).reshape(12, 2) % n for n in (5, 7))
    found = kernel_distance(a, b, seed=3, subsets=5)
    assert found == pytest.approx((1558.9395833333333, 970.9941204959792), rel=1e-12)


def test_the_inception_score_takes_any_seed_and_leaves_its_logits_unchanged() -> None:
    logits = cloud(40, 3, seed=1)
    logits.setflags(write=False)  # as features mapped from a file
    before = logits.copy()
    assert inception_score(logits, seed=2**32 + 5) == inception_score(logits, seed=5)
    assert np.array_equal(logits, before)


def test_labels_are_those_of_a_calculation_by_hand() -> None:
    """Exact shares of 7 are 3.5, 1.75 and 1.75: the two largest remainders get one label more.

    Each class is spread evenly, and ties go to the smaller label: class 0 at 1/6, 3/6 and 5/6 of
    the way, the others at 1/4 and 3/4.
    """
    assert proportional_labels(7, np.array([4, 2, 2])).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert proportional_labels(4, np.array([3, 1])).tolist() == [0, 0, 1, 0]
    assert proportional_labels(3, np.array([1, 1, 0, 1])).tolist() == [0, 1, 3]


def test_the_closest_hundredth_of_unseen_images_sets_the_threshold() -> None:
    unseen = np.arange(1, 201.0)  # the two closest are at 1 and 2, so the threshold is 3
    samples = np.array([1.5, 2.5, 2.9, 3.0, 3.5])
    share, _ = near_copies(samples, unseen)
    assert share == 3 / 5


def test_metrics_that_compare_pairs_take_the_first_samples_and_images_from_all_over() -> None:
    """Images of a set are often sorted by class, samples have all classes from the start."""
    real = np.concatenate([cloud(30, 4, seed=1), cloud(30, 4, seed=2) + np.float32(50)])
    fake = real[::2] + np.float32(0.001)
    inputs = MetricInputs(
        samples=Features(fake, None),
        logits=np.zeros((len(fake), 0), np.float32),
        reference=Features(real, None),
        train=Features(real, None),
        unseen=np.arange(0),
        distinct=np.arange(60),
        seed=0,
    )
    for name in ("precision", "recall", "coverage"):
        assert METRICS[name].run(inputs)[name] == 1, name
