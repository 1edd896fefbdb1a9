"""Sampling: a loaded generator, spectral norm folded, against a naive unfolded float32 loop."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import naive
from benchmarks.machine import has_bfloat16
from benchmarks.step import NUM_CLASSES, configuration, start_training
from benchmarks.timing import Times, alternate, progress, ratios, spread
from sagan import load_generator
from sagan.checkpoint import create_run
from sagan.config import Config
from sagan.inference import GeneratorBase

NUM = 64


@dataclass(frozen=True)
class SamplingResult:
    """One preset's figures.

    Attributes:
        preset: its name.
        num: images drawn in each repetition.
        seconds: "naive", "float32" and, if the processor has it, "bfloat16".
        largest_difference: between float32 and naive pixels, of 255.
        mean_difference: between bfloat16 and float32 pixels, of 255; 0 without bfloat16.
    """

    preset: str
    num: int
    seconds: Times
    largest_difference: int
    mean_difference: float


def measure(preset: str, repetitions: int) -> SamplingResult:
    """Time one preset after a step of training, which gives batch norm its statistics."""
    config = configuration(preset)
    progress(f"{preset}: a step of training")
    training = start_training(config)
    training.advance()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        training_description = training_run(config)
        create_run(run, training_description, {})
        training.save(run)
        generator = load_generator(run, weights="raw")
    unfolded, _ = naive.build(config, NUM_CLASSES)
    naive.copy_weights(training.adversaries.generator, unfolded)
    labels = np.arange(NUM) % NUM_CLASSES if config.conditional else None
    works: dict[str, Callable[[], np.ndarray]] = {
        "naive": lambda: naive_sample(unfolded, config, labels),
        "float32": lambda: generator.sample(NUM, labels),
    }
    if has_bfloat16():
        works["bfloat16"] = lambda: bfloat16_sample(generator, labels)
    images = {name: work().astype(np.int64) for name, work in works.items()}
    times = alternate(works, repetitions, preset)
    return SamplingResult(
        preset,
        NUM,
        times,
        int(np.abs(images["naive"] - images["float32"]).max()),
        float(np.abs(images.get("bfloat16", images["float32"]) - images["float32"]).mean()),
    )
