"""How good a run's samples are, by the code and under the protocol of `sagan evaluate`."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sagan.build import build_networks
from sagan.images.rgb import as_rgb
from sagan.metrics.evaluation import evaluate
from sagan.metrics.features.network import (
    DEFAULT_DISTANCE,
    DEFAULT_FEATURES,
    FeatureNetwork,
    open_network,
)
from sagan.metrics.features.reference import reference_features
from sagan.metrics.measures.inputs import MetricInputs, evenly_spaced
from sagan.metrics.measures.kernel import kernel_distance
from sagan.metrics.measures.table import DEFAULT_METRICS
from sagan.metrics.samples import SamplePlan
from sagan.model import Model
from sagan.runtime.processes import join_processes
from sagan.studies.measure.blocks import distance_by_block
from sagan.studies.run import StudyData, StudyRun
from sagan.studies.study import DROPPED_COLUMN, Column
from sagan.types import NamedProgress

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
    samples: int,
    metrics: Sequence[str] = DEFAULT_METRICS,
    observe: Callable[[MetricInputs], None] | None = None,
) -> dict[str, Any]:
    """Evaluate samples of the averaged generator against the training images.

    Args:
        model: a run's model.
        data: the images.
        progress: called while it is measured.
        samples: number of samples, unless there are fewer training images.
        metrics: names of `sagan evaluate`.
        observe: called with what the metrics were computed from.

    Returns:
        What `sagan.metrics.evaluate` returns.
    """
    plan = SamplePlan(num=min(samples, len(data.train)))
    return evaluate(
        model, data.train, metrics=metrics, network=feature_network(), plan=plan,
        observe=observe, progress=progress,
    )  # fmt: skip


def measure_final_quality(
    run: StudyRun, data: StudyData, progress: NamedProgress
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Evaluate a finished run as `measure_quality`; also return its distance by block of images."""
    blocks: dict[str, list[float]] = {}

    def observe(inputs: MetricInputs) -> None:
        blocks[DEFAULT_DISTANCE] = distance_by_block(inputs)

    return measure_quality(run.folder, data, progress, run.samples, observe=observe), blocks


def blank_distance(data: StudyData) -> float:
    """Return the kernel distance of blank images, in the training images' mean color, to these."""
    processes, network = join_processes(), feature_network()
    reference = reference_features(data.train, network, processes)
    assert reference is not None  # studies run in one process
    some = data.train.images[evenly_spaced(len(data.train), CURVE_SAMPLES)]
    color = some.mean(axis=(0, 1, 2), keepdims=True).round().astype(np.uint8)  # (1, 1, 1, C)
    height, width, _ = data.train.shape
    image = torch.from_numpy(as_rgb(np.tile(color, (1, height, width, 1))))
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
