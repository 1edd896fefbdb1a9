"""The probes find what features contain, and nothing else."""

import numpy as np
import pytest

from sagan.studies.measure import probes
from sagan.studies.measure.probes import (
    MIN_IMAGES_PER_CLASS,
    LabeledFeatures,
    accuracy_interval,
    few_label_accuracy,
    linear_hits,
    neighbor_hits,
)

CLASSES = 4


def clouds(per_class: int, apart: float, seed: int) -> LabeledFeatures:
    """Return a Gaussian cloud for each class in 8 dimensions, centered on an axis of its own."""
    labels = np.repeat(np.arange(CLASSES), per_class)
    features = np.random.default_rng(seed).standard_normal((len(labels), 8))
    features[np.arange(len(labels)), labels] += apart
    return LabeledFeatures(features.astype(np.float32), labels)


def test_distant_classes_are_distinguished_and_coinciding_classes_are_not() -> None:
    for apart, least, most in ((8.0, 0.99, 1.0), (0.0, 0.15, 0.35)):
        train, test = clouds(100, apart, seed=0), clouds(100, apart, seed=1)
        assert least <= linear_hits(train, test, seed=0)[0].mean() <= most
        assert least <= neighbor_hits(train, test).mean() <= most


def test_each_probe_uses_the_penalty_that_suits_its_features() -> None:
    """Features that differ little need a small penalty."""
    train, test = clouds(300, 2.0, seed=0), clouds(300, 2.0, seed=1)

    def hidden(part: LabeledFeatures) -> LabeledFeatures:
        shared = np.random.default_rng(len(part)).standard_normal((len(part), 1))
        return LabeledFeatures((0.03 * part.features + shared).astype(np.float32), part.labels)

    plain, _ = linear_hits(train, test, seed=0)
    found, small = linear_hits(hidden(train), hidden(test), seed=0)
    assert small < 1e-3
    assert found.mean() > plain.mean() - 0.05
    _, large = linear_hits(clouds(5, 2.0, seed=4), test, seed=0)
    assert large > 1e-2


def test_only_the_neighbor_probe_solves_exclusive_or() -> None:
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 2, (800, 2))
    noise = 0.1 * rng.standard_normal((800, 2))
    exclusive_or = LabeledFeatures(
        (corners + noise).astype(np.float32), (corners[:, 0] ^ corners[:, 1]).astype(np.int64)
    )
    train, test = exclusive_or[np.arange(400)], exclusive_or[np.arange(400, 800)]
    assert linear_hits(train, test, seed=0)[0].mean() < 0.7
    assert neighbor_hits(train, test).mean() > 0.98


def test_more_labels_give_better_accuracy_and_too_few_give_none() -> None:
    train, test = clouds(100, 2.0, seed=0), clouds(200, 2.0, seed=1)
    few, all_ = few_label_accuracy(train, test, 5, seed=0), few_label_accuracy(train, test, 100, 0)
    assert few is not None
    assert all_ is not None
    assert few < all_
    assert all_ == pytest.approx(linear_hits(train, test, seed=0)[0].mean(), abs=0.02)
    assert few_label_accuracy(train, test, 101, seed=0) is None


def test_a_rare_class_among_many_images_does_not_prevent_probing(monkeypatch) -> None:
    monkeypatch.setattr(probes, "MAX_TUNING_IMAGES", 100)
    train, test = clouds(1000, 8.0, seed=0), clouds(100, 8.0, seed=1)
    rare = train[np.flatnonzero((train.labels != 3) | (np.arange(len(train)) >= 3980))]
    assert linear_hits(rare, test, seed=0)[0].mean() > 0.9


def test_the_smallest_accepted_number_of_labels_is_enough() -> None:
    train, test = clouds(MIN_IMAGES_PER_CLASS, 8.0, seed=0), clouds(100, 8.0, seed=1)
    assert linear_hits(train, test, seed=0)[0].mean() > 0.9


def test_the_seed_decides_the_few_labels() -> None:
    train, test = clouds(50, 1.0, seed=0), clouds(200, 1.0, seed=1)
    one, same, other = (few_label_accuracy(train, test, 5, seed) for seed in (0, 0, 1))
    assert one == same != other


def test_the_interval_of_an_accuracy_is_wilsons() -> None:
    # Brown, Cai, DasGupta 2001: 10 of 20, at 95%
    low, high = accuracy_interval(0.5, 20)
    assert (low, high) == pytest.approx((0.2993, 0.7007), abs=1e-4)
