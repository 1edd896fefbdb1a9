"""What frozen features say about the class of a picture, by two classifiers that learn little."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sagan.metrics.classifier import fit_classifier

PENALTIES = (1e-3, 1e-2, 1e-1)  # of the weights, of which each probe takes the one that suits it
LEAST = 5  # pictures of each class, so that a fifth of all can hold one of each
CHOOSING = 10_000  # pictures at most by which it is chosen: four fifths to fit, the rest to judge
NEIGHBOURS = 5
DRAWS = 5  # of a few labels, over which accuracies are averaged
CONFIDENCE = 0.95

FloatArray = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """Features with their labels.

    Attributes:
        features: float32 (N, D).
        labels: int64 (N,).
    """

    features: FloatArray
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Labels) -> "Labelled":
        return Labelled(self.features[rows], self.labels[rows])


def linear_accuracy(train: Labelled, test: Labelled, seed: int) -> float:
    """Multinomial logistic regression on standardized features: the share it gets right of test.

    The weight of its penalty is the one of `PENALTIES` that serves best a part of ``train`` that
    it was not fitted to.
    """
    penalty = _chosen_penalty(train, seed)
    return _accuracy_of_fit(train, test, penalty)


def _chosen_penalty(train: Labelled, seed: int) -> float:
    num = min(CHOOSING, len(train))
    judging = math.ceil(num / 5)
    fitted, judged = train_test_split(
        np.arange(len(train)),
        train_size=num - judging,
        test_size=judging,
        stratify=train.labels,
        random_state=seed,
    )
    return max(
        PENALTIES, key=lambda penalty: _accuracy_of_fit(train[fitted], train[judged], penalty)
    )


def _accuracy_of_fit(train: Labelled, test: Labelled, penalty: float) -> float:
    with warnings.catch_warnings():
        # The last iterations on raw pixels change no figure that is reported.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier = fit_classifier(train.features, train.labels, penalty)
    return float(classifier.score(test.features, test.labels))


def neighbour_accuracy(train: Labelled, test: Labelled) -> float:
    """The same of the vote of the `NEIGHBOURS` nearest pictures, by standardized features."""
    classifier = make_pipeline(StandardScaler(), KNeighborsClassifier(NEIGHBOURS))
    classifier.fit(train.features, train.labels)
    return float(classifier.score(test.features, test.labels))


def few_label_accuracy(train: Labelled, test: Labelled, per_class: int, seed: int) -> float | None:
    """`linear_accuracy` with so many labels per class, the mean over `DRAWS` draws of them.

    None where a class has fewer.
    """
    if np.bincount(train.labels).min() < per_class:
        return None
    draws = [_some_of_each(train.labels, per_class, seed, draw) for draw in range(DRAWS)]
    return float(np.mean([linear_accuracy(train[rows], test, seed) for rows in draws]))


def _some_of_each(labels: Labels, per_class: int, seed: int, draw: int) -> Labels:
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
