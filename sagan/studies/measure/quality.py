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
from sagan.metrics.measures.inputs import evenly_spaced
from sagan.metrics.measures.kernel import kernel_distance
from sagan.metrics.measures.table import DEFAULT_METRICS
from sagan.metrics.plan import SamplePlan
from sagan.model import Model
from sagan.runtime.processes import join_processes
from sagan.studies.run import StudyData, StudyRun
from sagan.studies.study import DROPPED_COLUMN, Column
from sagan.types import NamedProgress

FINAL_SAMPLES = 10_000  # of a finished run, or as many as there are training images if fewer
CURVE_SAMPLES = 500  # of a checkpoint on the way: enough to see a distance double

QUALITY_COLUMNS = (
    Column(DEFAULT_DISTANCE, DEFAULT_DISTANCE, ".4f"),
    Column("FD-EfficientNet", "FD-EfficientNet", ".1f"),
    Column("precision", "precision", ".3f"),
    Column("recall", "recall", ".3f"),
    Column("density", "density", ".3f"),
    Column("coverage", "coverage", ".3f"),
    DROPPED_COLUMN,
)


@functools.cache
def feature_network() -> FeatureNetwork:
    """Return EfficientNet-Lite0, loaded once per process."""
    return open_network(DEFAULT_FEATURES)


def prepare_reference(data: StudyData, progress: NamedProgress) -> None:
    """Compute features of the training images into the cache, unless they are there."""
    processes = join_processes()
    feature_network().module.to(processes.device)
    reference_features(data.train, feature_network(), processes, progress=progress)


def measure_quality(
    model: Model | Path,
    data: StudyData,
    progress: NamedProgress,
    samples: int = FINAL_SAMPLES,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, Any]:
    """Evaluate samples of the averaged generator against the training images.

    Returns:
        What `sagan.metrics.evaluate` returns.
    """
    plan = SamplePlan(num=min(samples, len(data.train)))
    return evaluate(
        model, data.train, metrics=metrics, network=feature_network(), plan=plan, progress=progress
    )


def blank_distance(data: StudyData) -> float:
    """Return the kernel distance of blank images, in the training images' mean color, to these."""
    processes, network = join_processes(), feature_network()
    reference = reference_features(data.train, network, processes)
    assert reference is not None  # studies run in one process
    some = data.train.images[evenly_spaced(len(data.train), CURVE_SAMPLES)]
    color = some.mean(axis=(0, 1, 2), keepdims=True).round().astype(np.uint8)  # (1, 1, 1, 3)
    image = torch.from_numpy(np.tile(color, (1, data.train.size, data.train.size, 1)))
    features, _ = network(image.to(processes.device))
    blank = np.repeat(features.cpu().numpy(), CURVE_SAMPLES, axis=0)
    distance, _ = kernel_distance(blank, reference, seed=0)
    return distance


def untrained_model(run: StudyRun, data: StudyData) -> Model:
    """Return the run's model as it is before the first step."""
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
