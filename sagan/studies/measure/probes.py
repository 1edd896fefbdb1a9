"""How much frozen features say about an image's class, by two classifiers that learn little."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sagan.metrics.measures.classifier import fit_classifier
from sagan.types import BoolArray, Float32Array, Int64Array

# Weights of the penalty. Each probe uses the one that suits its features best; of several equally
# good ones, the middle one.
PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
MIN_IMAGES_PER_CLASS = 5  # so that a validation part of one fifth can contain every class
# The penalty is chosen on at most this many images (more if needed for `MIN_IMAGES_PER_CLASS` of
# each class): four fifths to fit, one fifth to validate.
MAX_TUNING_IMAGES = 10_000
# With fewer validation images than this, accuracies are averaged over several random splits.
MIN_VALIDATION_IMAGES, MAX_VALIDATION_SPLITS = 200, 5
PROBE_NEIGHBORS = 5
LABEL_DRAWS = 5  # random choices of a few labels, over which accuracies are averaged
ACCURACY_CONFIDENCE = 0.95


@dataclass(frozen=True)
class LabeledFeatures:
    """Features with their labels.

    Attributes:
        features: float32 (N, D).
        labels: int64 (N,).
    """

    features: Float32Array
    labels: Int64Array

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Int64Array) -> "LabeledFeatures":
        return LabeledFeatures(self.features[rows], self.labels[rows])


def linear_hits(
    train: LabeledFeatures, test: LabeledFeatures, seed: int
) -> tuple[BoolArray, float]:
    """Classify by multinomial logistic regression on standardized features.

    Args:
        train: features to fit.
        test: features to classify.
        seed: decides the splits on which the penalty is chosen.

    Returns:
        Whether each image of `test` is classified right, (N,), and the weight of the penalty: the
        one of `PENALTIES` with the best accuracy on parts of `train` that were held out.
    """
    penalty = _best_penalty(train, seed)
    return _hits(train, test, penalty), penalty


def _best_penalty(train: LabeledFeatures, seed: int) -> float:
    enough = max(MAX_TUNING_IMAGES, MIN_IMAGES_PER_CLASS * len(np.unique(train.labels)))
    num = min(enough, len(train))
    num_held_out = math.ceil(num / 5)
    splitter = StratifiedShuffleSplit(
        n_splits=min(MAX_VALIDATION_SPLITS, math.ceil(MIN_VALIDATION_IMAGES / num_held_out)),
        train_size=num - num_held_out,
        test_size=num_held_out,
        random_state=seed,
    )
    splits = list(splitter.split(train.features, train.labels))
    # Two standard errors of an accuracy, at most: sqrt(p (1 - p) / n) <= 1 / (2 sqrt(n)).
    chance = 1 / math.sqrt(num_held_out * len(splits))
    found: dict[float, float] = {}
    for penalty in PENALTIES:
        accuracies = [_hits(train[fit], train[rest], penalty).mean() for fit, rest in splits]
        found[penalty] = float(np.mean(accuracies))
        if found[penalty] < max(found.values()) - chance:
            break  # smaller penalties take longest to fit, and are worse still
    best = [penalty for penalty, value in found.items() if value == max(found.values())]
    return best[len(best) // 2]


def _hits(train: LabeledFeatures, test: LabeledFeatures, penalty: float) -> BoolArray:
    with warnings.catch_warnings():
        # On raw pixels the last iterations change no digit that is reported.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier = fit_classifier(train.features, train.labels, penalty)
    return np.asarray(classifier.predict(test.features) == test.labels)


def neighbor_hits(train: LabeledFeatures, test: LabeledFeatures) -> BoolArray:
    """Return whether the `PROBE_NEIGHBORS` nearest images of `train` vote right on each of `test`.

    Distances are Euclidean, between standardized features.
    """
    classifier = make_pipeline(StandardScaler(), KNeighborsClassifier(PROBE_NEIGHBORS))
    classifier.fit(train.features, train.labels)
    return np.asarray(classifier.predict(test.features) == test.labels)


def few_label_accuracy(
    train: LabeledFeatures, test: LabeledFeatures, per_class: int, seed: int
) -> float | None:
    """Return the accuracy of `linear_hits` with `per_class` labels of each class.

    It is averaged over `LABEL_DRAWS` random choices of these labels; None if a class has fewer.
    """
    if np.bincount(train.labels).min() < per_class:
        return None
    draws = [_some_of_each(train.labels, per_class, seed, draw) for draw in range(LABEL_DRAWS)]
    return float(np.mean([linear_hits(train[rows], test, seed)[0].mean() for rows in draws]))


def _some_of_each(labels: Int64Array, per_class: int, seed: int, draw: int) -> Int64Array:
    """Return rows of `per_class` random labels of each class: int64 (K * per_class,)."""
    rng = np.random.Generator(np.random.Philox([seed, draw]))
    return np.concatenate(
        [
            rng.choice(np.flatnonzero(labels == label), per_class, replace=False)
            for label in np.unique(labels)
        ]
    )


def accuracy_interval(accuracy: float, num: int) -> tuple[float, float]:
    """Return Wilson's interval (1927), at `ACCURACY_CONFIDENCE`, of an accuracy on `num` images."""
    found = stats.binomtest(round(accuracy * num), num).proportion_ci(ACCURACY_CONFIDENCE, "wilson")
    return float(found.low), float(found.high)
