"""A linear classifier on frozen features: what they say about the class, and no more.

`class-accuracy` fits it on features of real pictures and asks it about samples.
"""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sagan.metrics.extraction import FloatArray

PENALTY = 0.07  # weight of |w|^2 / 2 against the mean loss: docs/evaluation.md
MAX_ITERATIONS = 1000


def fit_classifier(
    features: FloatArray, labels: npt.NDArray[np.int64], penalty: float = PENALTY
) -> Pipeline:
    """Multinomial logistic regression on standardized features.

    Minimizes the mean cross-entropy plus ``penalty`` / 2 times the squared weights, to the same
    optimum whatever the machine.

    Args:
        features: float32 (N, D).
        labels: int64 (N,), two classes or more.
        penalty: of the weights.

    Returns:
        scikit-learn's pipeline: ``predict(features)`` gives labels, ``score(features, labels)`` the
        share that is right.
    """
    inverse = 1 / (penalty * len(features))
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=inverse, max_iter=MAX_ITERATIONS)
    ).fit(features, labels)
