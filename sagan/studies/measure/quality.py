"""How good a run's samples are, by the code and under the protocol of `sagan evaluate`."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sagan.build import build_networks
from sagan.metrics.evaluation import evaluate
from sagan.metrics.features.network import (
    DEFAULT_DISTANCE,
    DEFAULT_FEATURES,
    FeatureNetwork,
    open_network,
)
from sagan.metrics.features.reference import reference_features
from sagan.metrics.measures.inputs import spread
from sagan.metrics.measures.kernel import kernel_distance
from sagan.metrics.measures.table import DEFAULT_METRICS
from sagan.metrics.plan import SamplePlan
from sagan.model import Model
from sagan.runtime.processes import join_processes
from sagan.studies.run import Data, Run
from sagan.studies.study import DROPPED, Column
from sagan.types import NamedProgress

SAMPLES = 10_000  # of a finished run; as many as there are training pictures if these are fewer
CURVE_SAMPLES = 500  # of a point on the way: enough to tell twice from once

QUALITY_COLUMNS = (
    Column(DEFAULT_DISTANCE, DEFAULT_DISTANCE, ".4f"),
    Column("FD-EfficientNet", "FD-EfficientNet", ".1f"),
    Column("precision", "precision", ".3f"),
    Column("recall", "recall", ".3f"),
    Column("density", "density", ".3f"),
    Column("coverage", "coverage", ".3f"),
    DROPPED,
)


@functools.cache
def feature_network() -> FeatureNetwork:
    """EfficientNet-Lite0, loaded once in a process."""
    return open_network(DEFAULT_FEATURES)


def prepare_reference(data: Data, progress: NamedProgress) -> None:
    """Compute features of the training pictures into the cache, if they are not there."""
    processes = join_processes()
    feature_network().module.to(processes.device)
    reference_features(data.train, feature_network(), processes, progress=progress)


def measure(
    model: Model | Path,
    data: Data,
    progress: NamedProgress,
    samples: int = SAMPLES,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, Any]:
    """Evaluate averaged samples against the training pictures; see `sagan.metrics.evaluate`."""
    plan = SamplePlan(num=min(samples, len(data.train)))
    return evaluate(
        model, data.train, metrics=metrics, network=feature_network(), plan=plan, progress=progress
    )


def blank_distance(data: Data) -> float:
    """The kernel distance to the training pictures of pictures of their mean color."""
    processes, network = join_processes(), feature_network()
    reference = reference_features(data.train, network, processes)
    assert reference is not None  # studies run in one process
    some = data.train.images[spread(len(data.train), CURVE_SAMPLES)]
    color = some.mean(axis=(0, 1, 2), keepdims=True).round().astype(np.uint8)  # (1, 1, 1, 3)
    picture = torch.from_numpy(np.tile(color, (1, data.train.size, data.train.size, 1)))
    features, _ = network(picture.to(processes.device))
    blank = np.repeat(features.cpu().numpy(), CURVE_SAMPLES, axis=0)
    distance, _ = kernel_distance(blank, reference, seed=0)
    return distance


def untrained(run: Run, data: Data) -> Model:
    """The run's model before its first step."""
    networks = build_networks(run.config, data.train.num_classes)
    generator, discriminator = (dict(network.state_dict()) for network in networks)
    tensors = {"generator": generator, "ema": generator, "discriminator": discriminator}
    return Model(
        origin=run.name,
        config=run.config,
        classes=data.train.classes if run.config.conditional else (),
        fit=data.train.fit,
        fingerprint=data.train.fingerprint,
        step=0,
        card="",
        read=tensors.__getitem__,
    )
