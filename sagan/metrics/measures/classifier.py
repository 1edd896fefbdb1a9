"""A linear classifier on frozen features, which shows what they say about the class.

`class-accuracy` fits it on features of real images and classifies samples with it; `gan-train` does
the reverse (Shmelkov et al. 2018), as the classification accuracy score does with a network of its
own (Ravuri and Vinyals 2019).
"""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sagan.types import Float32Array, Int64Array

PENALTY = 0.07  # weight of |w|^2 / 2 beside the mean loss; part of the protocol
SOLVER, MAX_ITERATIONS = "lbfgs", 1000


def fit_classifier(
    features: Float32Array, labels: Int64Array, penalty: float = PENALTY
) -> Pipeline:
    """Fit multinomial logistic regression on standardized features.

    It minimizes mean cross-entropy + `penalty` / 2 * |w|^2, which has a single optimum. It computes
    in the features' precision: in float32, two machines may disagree about one image in thousands.

    Args:
        features: float32 (N, D).
        labels: int64 (N,), two or more classes.
        penalty: weight of the penalty on squared weights.

    Returns:
        A scikit-learn pipeline: `predict(features)` returns labels, `score(features, labels)` the
        accuracy.
    """
    inverse = 1 / (penalty * len(features))
    regression = LogisticRegression(C=inverse, solver=SOLVER, max_iter=MAX_ITERATIONS)
    return make_pipeline(StandardScaler(), regression).fit(features, labels)
