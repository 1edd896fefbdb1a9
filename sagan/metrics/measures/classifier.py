"""A linear classifier on frozen features: what they say about the class, and no more.

`class-accuracy` fits it on features of real pictures and asks it about samples.
"""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sagan.types import Float32Array

PENALTY = 0.07  # weight of |w|^2 / 2 against the mean loss; the protocol has it
SOLVER, MAX_ITERATIONS = "lbfgs", 1000


def fit_classifier(
    features: Float32Array, labels: npt.NDArray[np.int64], penalty: float = PENALTY
) -> Pipeline:
    """Multinomial logistic regression on standardized features.

    Minimizes the mean cross-entropy plus `penalty` / 2 times the squared weights, which has one
    optimum, in the features' precision: in float32 two machines may differ about a picture in
    thousands.

    Args:
        features: float32 (N, D).
        labels: int64 (N,), two classes or more.
        penalty: of the weights.

    Returns:
        scikit-learn's pipeline: `predict(features)` gives labels, `score(features, labels)` the
        share that is right.
    """
    inverse = 1 / (penalty * len(features))
    regression = LogisticRegression(C=inverse, solver=SOLVER, max_iter=MAX_ITERATIONS)
    return make_pipeline(StandardScaler(), regression).fit(features, labels)
