"""The linear classifier finds the minimum of its stated loss."""

import numpy as np
import pytest

from sagan.metrics.measures.classifier import fit_classifier


def blobs(num: int, seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return classes about 2 standard deviations apart in 5 dimensions of different scales."""
    rng = np.random.default_rng(seed)
    centers = 1.5 * np.random.default_rng(99).standard_normal((classes, 5))
    labels = np.arange(num) % classes
    scales = np.array([1, 10, 100, 0.1, 1])
    return ((centers[labels] + rng.standard_normal((num, 5))) * scales).astype(np.float32), labels


def test_the_gradient_of_the_penalized_mean_loss_vanishes_at_the_solution() -> None:
    features, labels = blobs(300, seed=0)
    classifier = fit_classifier(features, labels, penalty=0.05)
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    weight, bias = classifier[-1].coef_, classifier[-1].intercept_  # (K, D), (K,)
    logits = x @ weight.T + bias
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = p - np.eye(3)[labels]
    assert np.abs(error.T @ x / len(x) + 0.05 * weight).max() < 1e-3
    assert np.abs(error.mean(axis=0)).max() < 1e-3


def test_scaling_features_or_repeating_them_changes_nothing() -> None:
    features, labels = blobs(300, seed=0)
    new, _ = blobs(100, seed=1)
    expected = fit_classifier(features, labels).predict_proba(new)
    for other, relabeled, queries in (
        (features * 7 + 3, labels, new * 7 + 3),
        (np.tile(features, (3, 1)), np.tile(labels, 3), new),
    ):
        found = fit_classifier(other, relabeled).predict_proba(queries)
        np.testing.assert_allclose(found, expected, atol=5e-3)


def test_it_classifies_new_images_of_distinct_classes_and_guesses_on_noise() -> None:
    features, labels = blobs(600, seed=0)
    new, expected = blobs(300, seed=1)
    assert fit_classifier(features, labels).score(new, expected) > 0.85
    noise = np.random.default_rng(2).standard_normal((900, 5)).astype(np.float32)
    guessing = fit_classifier(noise[:600], labels)
    assert guessing.score(noise[600:], expected) == pytest.approx(1 / 3, abs=0.09)
