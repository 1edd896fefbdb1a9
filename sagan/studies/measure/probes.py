"""What frozen features say about the class of a picture, by two classifiers that learn little."""

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
from sagan.types import Float32Array, Int64Array

# Of the weights, of which each probe takes the one that suits it; of equals the middle one.
PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
LEAST = 5  # pictures of each class, so that a fifth of all can hold one of each
# Pictures at most by which it is chosen, but as many as needed to hold `LEAST` of each class: four
# fifths to fit, the rest to judge.
CHOOSING = 10_000
JUDGING, SPLITS = 200, 5  # where the rest are fewer they are drawn anew, but not more often
NEIGHBORS = 5
DRAWS = 5  # of a few labels, over which accuracies are averaged
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Labeled:
    """Features with their labels.

    Attributes:
        features: float32 (N, D).
        labels: int64 (N,).
    """

    features: Float32Array
    labels: Int64Array

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Int64Array) -> "Labeled":
        return Labeled(self.features[rows], self.labels[rows])


def linear_accuracy(train: Labeled, test: Labeled, seed: int) -> tuple[float, float]:
    """Multinomial logistic regression on standardized features.

    Returns:
        The share it gets right of `test`, and the weight of its penalty: the one of `PENALTIES`
        that serves best parts of `train` that it was not fitted to.
    """
    penalty = _chosen_penalty(train, seed)
    return _accuracy_of_fit(train, test, penalty), penalty


def _chosen_penalty(train: Labeled, seed: int) -> float:
    num = min(max(CHOOSING, LEAST * len(np.unique(train.labels))), len(train))
    judging = math.ceil(num / 5)
    draws = StratifiedShuffleSplit(
        n_splits=min(SPLITS, math.ceil(JUDGING / judging)),
        train_size=num - judging,
        test_size=judging,
        random_state=seed,
    )
    splits = list(draws.split(train.features, train.labels))

    def accuracy(penalty: float) -> float:
        parts = [_accuracy_of_fit(train[fit], train[judged], penalty) for fit, judged in splits]
        return float(np.mean(parts))

    chance = 1 / math.sqrt(judging * len(splits))  # two standard errors of a share, at most
    found: dict[float, float] = {}
    for penalty in PENALTIES:
        found[penalty] = accuracy(penalty)
        if found[penalty] < max(found.values()) - chance:
            break  # smaller penalties take longest, and lead away from here
    best = [penalty for penalty, value in found.items() if value == max(found.values())]
    return best[len(best) // 2]


def _accuracy_of_fit(train: Labeled, test: Labeled, penalty: float) -> float:
    with warnings.catch_warnings():
        # The last iterations on raw pixels change no figure that is reported.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier = fit_classifier(train.features, train.labels, penalty)
    return float(classifier.score(test.features, test.labels))


def neighbor_accuracy(train: Labeled, test: Labeled) -> float:
    """The same of the vote of the `NEIGHBORS` nearest pictures, by standardized features."""
    classifier = make_pipeline(StandardScaler(), KNeighborsClassifier(NEIGHBORS))
    classifier.fit(train.features, train.labels)
    return float(classifier.score(test.features, test.labels))


def few_label_accuracy(train: Labeled, test: Labeled, per_class: int, seed: int) -> float | None:
    """`linear_accuracy` with so many labels per class, the mean over `DRAWS` draws of them.

    None where a class has fewer.
    """
    if np.bincount(train.labels).min() < per_class:
        return None
    draws = [_some_of_each(train.labels, per_class, seed, draw) for draw in range(DRAWS)]
    return float(np.mean([linear_accuracy(train[rows], test, seed)[0] for rows in draws]))


def _some_of_each(labels: Int64Array, per_class: int, seed: int, draw: int) -> Int64Array:
    random = np.random.Generator(np.random.Philox([seed, draw]))
    return np.concatenate(
        [
            random.choice(np.flatnonzero(labels == label), per_class, replace=False)
            for label in np.unique(labels)
        ]
    )


def accuracy_interval(accuracy: float, num: int) -> tuple[float, float]:
    """Wilson's interval, at `CONFIDENCE`, of an accuracy measured on so many pictures."""
    found = stats.binomtest(round(accuracy * num), num).proportion_ci(CONFIDENCE, "wilson")
    return float(found.low), float(found.high)
