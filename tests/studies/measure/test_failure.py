"""A training fails by the stated criterion."""

import numpy as np
import pytest
import torch

from sagan.metrics.measures.kernel import kernel_distance
from sagan.studies.definitions.spectral_norm import LARGEST_SIGMA, _stability_numbers
from sagan.studies.measure.failure import failure_step
from sagan.studies.measure.quality import blank_distance, feature_network
from sagan.studies.run import StudyData

GOOD = [(0, 1.0), (10, 0.4), (20, 0.2), (30, 0.25), (40, 0.1)]


@pytest.mark.parametrize(
    ("distances", "dropped", "step"),
    [
        (GOOD, [], None),
        (GOOD, [(10, 0), (20, 0)], None),
        (GOOD, [(10, 0), (20, 3), (30, 4)], 20),
        # at 20 it exceeds twice the lowest value so far, for good
        ([(0, 1.0), (10, 0.2), (20, 0.5), (30, 0.9)], [], 20),
        # it recovers
        ([(0, 1.0), (10, 0.2), (20, 0.5), (30, 0.39)], [], None),
        # a collapse in the last evaluation
        ([(0, 1.0), (10, 0.2), (20, 0.3), (30, 0.41)], [], 30),
        # never below half of the blank distance, though far better than an untrained generator
        ([(0, 9.0), (10, 0.9), (20, 0.6)], [], 0),
        # an unbiased distance may be negative, and its multiples are no useful bound
        ([(0, 1.0), (10, -0.001), (20, 0.04), (30, 0.002)], [], None),
        ([(0, 1.0), (10, -0.001), (20, 0.06), (30, 0.07)], [], 20),
        # the earliest sign counts
        ([(0, 1.0), (10, 0.2), (20, 0.5)], [(15, 1)], 15),
    ],
)
def test_a_training_fails_at_the_earliest_sign(distances, dropped, step) -> None:
    assert failure_step(distances, dropped, blank=1.0, coverage=0.7) == step


def test_low_coverage_at_the_end_is_a_failure_of_the_last_step() -> None:
    assert failure_step(GOOD, [], blank=1.0, coverage=0.05) == 40


def test_a_training_that_ends_with_blank_images_fails_and_one_with_copies_does_not(
    labeled, monkeypatch, tmp_path
) -> None:
    """Whatever the distance of the untrained generator, which may be the largest of all."""
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    data = StudyData({"train": labeled})
    blank = blank_distance(data)

    def features(images: np.ndarray) -> np.ndarray:
        return feature_network()(torch.from_numpy(np.array(images)))[0].numpy()

    color = labeled.images.mean(axis=(0, 1, 2)).round().astype(np.uint8)
    reference = features(labeled.images)
    found, _ = kernel_distance(features(np.tile(color, (18, 32, 32, 1))), reference, seed=1)
    assert blank == pytest.approx(found, rel=0.05)
    assert failure_step([(0, 99.0), (10, found)], [], blank, coverage=0.7) == 0
    same, _ = kernel_distance(reference, reference, seed=1)
    assert failure_step([(0, 99.0), (10, same)], [], blank, coverage=0.7) is None


def test_a_training_without_any_finite_record_is_summarized() -> None:
    sigmas = {f"sigma/{network}/linear": [(1.0, 2.0)] for network in LARGEST_SIGMA}
    assert _stability_numbers(sigmas) == dict.fromkeys(LARGEST_SIGMA.values(), 2.0)
