"""The probes find what is in features, and no more."""

import numpy as np
import pytest

from sagan.studies.measure import probes
from sagan.studies.measure.probes import (
    LEAST,
    Labeled,
    accuracy_interval,
    few_label_accuracy,
    linear_accuracy,
    neighbor_accuracy,
)

CLASSES = 4


def clouds(per_class: int, apart: float, seed: int) -> Labeled:
    """One Gaussian cloud for each class, its center on an axis of its own, in 8 dimensions."""
    labels = np.repeat(np.arange(CLASSES), per_class)
    features = np.random.default_rng(seed).standard_normal((len(labels), 8))
    features[np.arange(len(labels)), labels] += apart
    return Labeled(features.astype(np.float32), labels)


def test_classes_far_apart_are_told_apart_and_classes_that_coincide_are_not() -> None:
    for apart, least, most in ((8.0, 0.99, 1.0), (0.0, 0.15, 0.35)):
        train, test = clouds(100, apart, seed=0), clouds(100, apart, seed=1)
        assert least <= linear_accuracy(train, test, seed=0)[0] <= most
        assert least <= neighbor_accuracy(train, test) <= most


def test_each_probe_takes_the_penalty_that_suits_its_features() -> None:
    """Features that nearly agree need a small one: what tells them apart is little."""
    train, test = clouds(300, 2.0, seed=0), clouds(300, 2.0, seed=1)

    def hidden(part: Labeled) -> Labeled:
        shared = np.random.default_rng(len(part)).standard_normal((len(part), 1))
        return Labeled((0.03 * part.features + shared).astype(np.float32), part.labels)

    plain, _ = linear_accuracy(train, test, seed=0)
    found, small = linear_accuracy(hidden(train), hidden(test), seed=0)
    assert small < 1e-3
    assert found > plain - 0.05
    _, large = linear_accuracy(clouds(5, 2.0, seed=4), test, seed=0)
    assert large > 1e-2


def test_the_linear_probe_sees_lines_only_and_neighbors_see_more() -> None:
    random = np.random.default_rng(0)
    corners = random.integers(0, 2, (800, 2))
    noise = 0.1 * random.standard_normal((800, 2))
    exclusive_or = Labeled(
        (corners + noise).astype(np.float32), (corners[:, 0] ^ corners[:, 1]).astype(np.int64)
    )
    train, test = exclusive_or[np.arange(400)], exclusive_or[np.arange(400, 800)]
    assert linear_accuracy(train, test, seed=0)[0] < 0.7
    assert neighbor_accuracy(train, test) > 0.98


def test_more_labels_tell_more_and_too_few_are_said_to_be() -> None:
    train, test = clouds(100, 2.0, seed=0), clouds(200, 2.0, seed=1)
    few, all_ = few_label_accuracy(train, test, 5, seed=0), few_label_accuracy(train, test, 100, 0)
    assert few is not None
    assert all_ is not None
    assert few < all_
    assert all_ == pytest.approx(linear_accuracy(train, test, seed=0)[0], abs=0.02)
    assert few_label_accuracy(train, test, 101, seed=0) is None


def test_a_class_that_is_rare_among_many_pictures_does_not_stand_in_the_way(monkeypatch) -> None:
    monkeypatch.setattr(probes, "CHOOSING", 100)
    train, test = clouds(1000, 8.0, seed=0), clouds(100, 8.0, seed=1)
    rare = train[np.flatnonzero((train.labels != 3) | (np.arange(len(train)) >= 3980))]
    assert linear_accuracy(rare, test, seed=0)[0] > 0.9


def test_the_fewest_labels_that_the_study_takes_are_enough() -> None:
    train, test = clouds(LEAST, 8.0, seed=0), clouds(100, 8.0, seed=1)
    assert linear_accuracy(train, test, seed=0)[0] > 0.9


def test_few_labels_are_the_same_ones_for_the_same_seed_only() -> None:
    train, test = clouds(50, 1.0, seed=0), clouds(200, 1.0, seed=1)
    one, same, other = (few_label_accuracy(train, test, 5, seed) for seed in (0, 0, 1))
    assert one == same != other


def test_the_interval_of_an_accuracy_is_wilsons() -> None:
    # Brown, Cai, DasGupta 2001: 10 of 20, 95 %
    low, high = accuracy_interval(0.5, 20)
    assert (low, high) == pytest.approx((0.2993, 0.7007), abs=1e-4)
