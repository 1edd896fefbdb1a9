"""Time of a training step, ours and naive, and the share of the GEMM peak that ours reaches."""

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.checkout import load_models
from benchmarks.contender import Contender
from benchmarks.flops import step_flops
from benchmarks.gemm import Peak
from benchmarks.timing import Times, alternate, progress, ratios, spread
from benchmarks.workload import NUM_CLASSES, configuration, start_training
from sagan.config import Config
from sagan.nn.precision import resolve_precision

PRESETS = ("dcgan-64", "sagan-32", "classic-32", "classic-64")


@dataclass(frozen=True)
class StepResult:
    """Figures of one preset.

    Attributes:
        preset: its name.
        batch_size: images per update.
        d_steps: updates of D per step.
        precision: of our step.
        seconds: of each contender's step, at each repetition.
        flops: floating-point operations needed by the step as published.
        done_flops: those that our step does, without fused attention, which torch does not count.
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
    """Time one preset; GEMMs, our step, the naive one and the checkout's take turns.

    Raises:
        SaganError: the checkout cannot be imported.
    """
    config = configuration(preset)
    if checkout is not None:
        load_models(checkout)  # here, as a contender's process could not report why it fails
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
    """Return the operations that our step does, without fused attention."""
    with FlopCounterMode(display=False) as counter:
        start_training(config).advance()
    return int(counter.get_total_flops())


def table(results: list[StepResult]) -> list[str]:
    """Return the figures as lines of Markdown."""
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
