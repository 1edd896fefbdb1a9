"""The training step, ours against the naive one, and the share of the GEMM peak it reaches."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.checkout import load_models
from benchmarks.contender import Contender
from benchmarks.flops import step_flops
from benchmarks.gemm import Peak
from benchmarks.naive import Batch
from benchmarks.timing import Times, alternate, progress, ratios, spread
from sagan.config import Config, resolve
from sagan.data import PackedDataset
from sagan.images.pixels import to_float
from sagan.nn.precision import resolve_precision
from sagan.run.directory import RunDescription
from sagan.runtime.processes import make_accelerator
from sagan.training.state import Training

NUM_CLASSES = 10
# The published batch of these two would make the naive step needlessly long to wait for.
BATCH_SIZES = {"dcgan-64": 32, "sagan-32": 32}
PRESETS = ("dcgan-64", "sagan-32", "cpu-32", "cpu-64")


def configuration(preset: str, **settings: object) -> Config:
    """A preset as it is timed: conditional if its family takes labels."""
    batch = {"batch_size": BATCH_SIZES[preset]} if preset in BATCH_SIZES else {}
    config = resolve(preset, batch | settings)
    return config.model_copy(update={"conditional": config.takes_labels})


def random_dataset(config: Config, num: int = 512) -> PackedDataset:
    """Noise in memory: a step takes as long whatever the pictures show."""
    source = np.random.default_rng(0)
    shape = (num, config.resolution, config.resolution, 3)
    images = source.integers(0, 256, shape, dtype=np.uint8)
    labels = source.integers(0, NUM_CLASSES, num) if config.conditional else None
    classes = tuple(map(str, range(NUM_CLASSES))) if config.conditional else ()
    return PackedDataset(images, labels, classes, "", Path(), "noise", "train", "crop")


def start_training(config: Config) -> Training:
    """Our training on noise, at step 0."""
    return Training(describe(config), random_dataset(config), make_accelerator())


def describe(config: Config) -> RunDescription:
    """What a run on noise is of."""
    classes = list(random_dataset(config, 1).classes)
    return RunDescription(config, "", {"source": "noise", "fingerprint": "", "classes": classes})


def ready_batches(config: Config, num: int = 4) -> Iterator[Batch]:
    """Batches as a data loader hands them over: float, in [-1, 1], made beforehand."""
    dataset, size = random_dataset(config, num * config.batch_size), config.batch_size
    images = to_float(torch.from_numpy(dataset.images)).contiguous().split(size)
    labels: list[torch.Tensor | None] = [None] * num
    if dataset.labels is not None:
        labels = list(torch.from_numpy(dataset.labels).split(size))
    return cycle([Batch(i, y) for i, y in zip(images, labels, strict=True)])


@dataclass(frozen=True)
class StepResult:
    """One preset's figures.

    Attributes:
        preset: its name.
        batch_size: images in an update.
        d_steps: updates of D in a step.
        precision: of our step.
        seconds: of each contender's step, at each repetition.
        flops: floating-point operations that the step needs as published.
        done_flops: what our step does of them, but for fused attention, which torch does not count.
        peak_flops_per_second: best rate of a square matrix product in the same precision.
        peak_side: of the matrices that reached it.
    """

    preset: str
    batch_size: int
    d_steps: int
    precision: str
    seconds: Times
    flops: int
    done_flops: int
    peak_flops_per_second: float
    peak_side: int


def measure(preset: str, repetitions: int, checkout: Path | None) -> StepResult:
    """Time one preset; GEMMs, our step, the naive one and the checkout's take turns."""
    config = configuration(preset)
    if checkout is not None:
        load_models(checkout)  # or say here, in one line, why it cannot be
    precision = resolve_precision(config.precision, torch.device("cpu"))
    peak = Peak(precision)
    with ExitStack() as stack:
        works: dict[str, Callable[[], object]] = {"GEMM": peak.measure}
        for name in ("ours", "naive", "checkout"):
            if name != "checkout" or (checkout is not None and config.family == "dcgan"):
                progress(f"{preset}: first step, {name}")
                works[name] = stack.enter_context(Contender(name, config, checkout)).step
        times = alternate(works, repetitions, preset)
    del times["GEMM"]
    return StepResult(
        preset,
        config.batch_size,
        config.d_steps,
        str(precision).removeprefix("torch."),
        times,
        step_flops(config, NUM_CLASSES),
        done_flops(config),
        peak.flops_per_second,
        peak.side,
    )


def done_flops(config: Config) -> int:
    """What our step does, but for fused attention."""
    with FlopCounterMode(display=False) as counter:
        start_training(config).advance()
    return int(counter.get_total_flops())


def table(results: list[StepResult]) -> list[str]:
    """The figures as lines of markdown."""
    lines = [
        "| preset | batch | D updates | ours, s | naive, s | naive / ours "
        "| GFLOP needed | done | needed GFLOP/s | GEMM peak, GFLOP/s "
        "| needed / peak | done / peak |",
        f"|{' --- |' * 12}",
    ]
    for result in results:
        ours, naive = result.seconds["ours"], result.seconds["naive"]
        rate = result.flops / statistics.median(ours)
        share = rate / result.peak_flops_per_second
        lines.append(
            f"| `{result.preset}` ({result.precision}) | {result.batch_size} | {result.d_steps} "
            f"| {spread(ours)} | {spread(naive)} | {spread(ratios(naive, ours), 2)} "
            f"| {result.flops / 1e9:,.0f} | {result.done_flops / 1e9:,.0f} | {rate / 1e9:,.0f} "
            f"| {result.peak_flops_per_second / 1e9:,.0f} "
            f"| {share:.0%} | {share * result.done_flops / result.flops:.0%} |"
        )
    for result in results:
        if "checkout" in result.seconds:
            other, naive = result.seconds["checkout"], result.seconds["naive"]
            lines += [
                "",
                f"The checkout's step, `{result.preset}`: {spread(other)} s; naive / checkout "
                f"{spread(ratios(naive, other))}, checkout / ours "
                f"{spread(ratios(other, result.seconds['ours']), 2)}.",
            ]
    return lines
