"""Numbers about a trained model: features of pictures, one file per metric, the protocol.

The libraries that it needs are the extra "metrics"; names are imported when they are first used,
and say so where one is missing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagan.metrics.classifier import fit_classifier
    from sagan.metrics.evaluation import evaluate
    from sagan.metrics.features import FeatureNetwork, open_network
    from sagan.metrics.measures import DEFAULT_METRICS, METRICS
    from sagan.metrics.plan import SamplePlan

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "FeatureNetwork",
    "SamplePlan",
    "evaluate",
    "fit_classifier",
    "open_network",
]

_MODULES = {
    "DEFAULT_METRICS": "measures",
    "METRICS": "measures",
    "FeatureNetwork": "features",
    "SamplePlan": "plan",
    "evaluate": "evaluation",
    "fit_classifier": "classifier",
    "open_network": "features",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sagan.metrics.libraries import needed_library

    with needed_library():
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
