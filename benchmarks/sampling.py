"""Sampling: a loaded generator, norms folded into its weights, against naive float32 code."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks import naive
from benchmarks.machine import has_bfloat16
from benchmarks.timing import Times, alternate, progress, ratios, spread
from benchmarks.workload import NUM_CLASSES, configuration, describe_run, start_training
from sagan import load_generator
from sagan.config import Config
from sagan.nn.base import GeneratorBase
from sagan.nn.inputs import seeded_latents
from sagan.run.directory import create_run
from sagan.training.state import Training
from sagan.types import UInt8Array

NUM = 64


@dataclass(frozen=True)
class SamplingResult:
    """Figures of one preset.

    Attributes:
        preset: its name.
        num: images drawn per repetition.
        seconds: "naive", "float32" and, if the processor has it, "bfloat16".
        largest_difference: between float32 and naive pixels, in [0, 255].
        mean_difference: between bfloat16 and float32 pixels, in [0, 255]; 0 without bfloat16.
    """

    preset: str
    num: int
    seconds: Times
    largest_difference: int
    mean_difference: float


def measure(preset: str, repetitions: int) -> SamplingResult:
    """Time one preset after a step of training, which sets batch norm's statistics."""
    config = configuration(preset)
    progress(f"{preset}: a step of training")
    training = start_training(config)
    training.advance()
    unfolded, _ = naive.build(config, NUM_CLASSES)
    naive.copy_weights(training.adversaries.generator, unfolded)
    labels = np.arange(NUM) % NUM_CLASSES if config.conditional else None
    works: dict[str, Callable[[], UInt8Array]] = {
        "naive": partial(naive_sample, unfolded.eval(), config, labels)
    }
    for name, generator in saved_and_loaded(training).items():
        works[name] = partial(generator.sample, NUM, labels)
    images = {name: work().astype(np.int64) for name, work in works.items()}
    return SamplingResult(
        preset,
        NUM,
        alternate(works, repetitions, preset),
        int(np.abs(images["naive"] - images["float32"]).max()),
        float(np.abs(images.get("bfloat16", images["float32"]) - images["float32"]).mean()),
    )


def saved_and_loaded(training: Training) -> dict[str, GeneratorBase]:
    """Return the generator as a user loads it, in each precision of this processor."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        create_run(run, describe_run(training.config), {})
        training.save(run)
        loaded = {"float32": load_generator(run, "raw", "float32")}
        if has_bfloat16():
            loaded["bfloat16"] = load_generator(run, "raw", "bfloat16")
        return loaded


@torch.no_grad()
def naive_sample(
    generator: nn.Module, config: Config, labels: npt.NDArray[np.int64] | None
) -> UInt8Array:
    """Draw the images of `generator.sample` as popular code does: uint8 (NUM, S, S, 3)."""
    latents = seeded_latents(NUM, config.latent_size, seed=0)
    images = generator(latents, None if labels is None else torch.from_numpy(labels))
    images = ((images + 1) * 127.5).round().clamp(0, 255)
    return images.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def table(results: list[SamplingResult]) -> list[str]:
    """Return the figures as lines of Markdown."""
    lines = [
        "| preset | images | naive, images/s | float32 | bfloat16 | float32 / naive "
        "| bfloat16 / naive | largest difference | mean difference |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        speeds = {k: [result.num / s for s in taken] for k, taken in result.seconds.items()}
        precisions = [name for name in ("float32", "bfloat16") if name in speeds]
        missing = [""] * (2 - len(precisions))
        cells = [spread(speeds["naive"], 0)]
        cells += [spread(speeds[name], 0) for name in precisions] + missing
        cells += [spread(ratios(speeds[name], speeds["naive"]), 2) for name in precisions] + missing
        lines.append(
            f"| `{result.preset}` | {result.num} | {' | '.join(cells)} "
            f"| {result.largest_difference} / 255 | {result.mean_difference:.2f} / 255 |"
        )
    return [
        *lines,
        "",
        "Differences: the largest between float32 and naive pixels, "
        "the mean between bfloat16 and float32 pixels.",
    ]
