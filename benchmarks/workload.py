"""The training that the benchmarks time: presets as they are timed, on random images."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

from benchmarks.naive import Batch
from sagan.config import Config, resolve
from sagan.data import PackedDataset
from sagan.images.pixels import to_float
from sagan.run.directory import RunDescription
from sagan.runtime.processes import make_accelerator
from sagan.training.state import Training

NUM_CLASSES = 10
# At the published batch sizes of these two, a naive step would take needlessly long.
BATCH_SIZES = {"dcgan-64": 32, "sagan-32": 32}


def configuration(preset: str, **settings: object) -> Config:
    """Return a preset as it is timed: conditional if its family takes labels."""
    batch = {"batch_size": BATCH_SIZES[preset]} if preset in BATCH_SIZES else {}
    config = resolve(preset, batch | settings)
    return config.model_copy(update={"conditional": config.takes_labels})


def random_dataset(config: Config, num: int = 512) -> PackedDataset:
    """Return noise in memory: the time of a step does not depend on what the images show."""
    rng = np.random.default_rng(0)
    shape = (num, *config.shape)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = rng.integers(0, NUM_CLASSES, num) if config.conditional else None
    classes = tuple(map(str, range(NUM_CLASSES))) if config.conditional else ()
    return PackedDataset(images, labels, classes, "", Path(), "noise", "train", "crop")


def start_training(config: Config) -> Training:
    """Return our training on noise, at step 0."""
    return Training(describe_run(config), random_dataset(config), make_accelerator())


def describe_run(config: Config) -> RunDescription:
    """Return the description of a run on noise."""
    classes = list(random_dataset(config, 1).classes)
    return RunDescription(config, "", {"source": "noise", "fingerprint": "", "classes": classes})


def ready_batches(config: Config, num: int = 4) -> Iterator[Batch]:
    """Yield batches in turn, made beforehand: float in [-1, 1], as a data loader returns them."""
    dataset, size = random_dataset(config, num * config.batch_size), config.batch_size
    images = to_float(torch.from_numpy(dataset.images)).contiguous().split(size)
    labels: list[torch.Tensor | None] = [None] * num
    if dataset.labels is not None:
        labels = list(torch.from_numpy(dataset.labels).split(size))
    return cycle([Batch(i, y) for i, y in zip(images, labels, strict=True)])
