"""Time and peak memory of one attention layer, forward and backward, against N.

Each figure comes from a fresh process: a tiny call loads the kernels, the inputs are made, and the
process's high-water mark (VmHWM) is reset. Its rise above the memory in use at that moment is the
peak "above the inputs". Linux only.
"""

import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.naive import Attention
from benchmarks.timing import progress, seconds
from sagan.nn.attention import FORMS, FormName, SelfAttention2d
from sagan.nn.attention_kernels import BACKENDS

CHANNELS = 64
SIDES = (8, 16, 32, 64, 128, 256)  # N = 64 ... 65,536
IMPLEMENTATIONS = ("naive", *BACKENDS, "auto")  # naive: the layer of popular code


@dataclass(frozen=True)
class MemoryResult:
    """Figures of one layer, batch 1, float32.

    Attributes:
        form: published form of the layer.
        implementation: one of `IMPLEMENTATIONS`.
        positions: N.
        seconds: of one forward and backward pass, the median.
        peak_bytes: above the inputs.
    """

    form: FormName
    implementation: str
    positions: int
    seconds: float
    peak_bytes: int


def measure(forms: list[FormName], sides: list[int], repetitions: int) -> list[MemoryResult]:
    """Measure every form, size and implementation that free memory allows."""
    results = []
    for form in forms:
        for side in sides:
            for implementation in IMPLEMENTATIONS:
                if needed_bytes(form, implementation, side) > available_bytes():
                    progress(
                        f"{form}, {implementation}, N = {side**2:,}: skipped, not enough memory"
                    )
                    continue
                result = in_a_process(form, implementation, side, repetitions)
                progress(
                    f"{form}, {implementation}, N = {side**2:,}: {result.seconds:.4f} s, "
                    f"{result.peak_bytes / 1e6:,.1f} MB"
                )
                results.append(result)
    return results


def needed_bytes(form: FormName, implementation: str, side: int) -> int:
    """Return a rough estimate: with a whole map, four are alive at once in the backward pass."""
    positions = side**2
    attended = positions // 4 if FORMS[form].pool else positions
    return 4 * 4 * positions * attended if implementation in ("naive", "eager") else 0


def available_bytes() -> int:
    """Return the memory that the system can still provide."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def in_a_process(form: FormName, implementation: str, side: int, repetitions: int) -> MemoryResult:
    """Measure one layer in a new process, forked from one that has torch but has not used it."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=server) as process:
        return process.submit(measure_here, form, implementation, side, repetitions).result()


def measure_here(form: FormName, implementation: str, side: int, repetitions: int) -> MemoryResult:
    """Measure one layer in this process, which must be fresh; long calls are not repeated."""
    layer = build_layer(form, implementation)
    run(layer, *inputs(8))
    x, gradient = inputs(side)
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    taken = [seconds(lambda: run(layer, x, gradient))]
    peak = max(0, status_bytes("VmHWM") - before)
    if taken[0] < 1:
        taken = [seconds(lambda: run(layer, x, gradient)) for _ in range(repetitions)]
    return MemoryResult(form, implementation, side**2, statistics.median(taken), peak)


def build_layer(form: FormName, implementation: str) -> nn.Module:
    """Return a layer with gamma = 1, since at 0 attention would not count."""
    layer: nn.Module
    if implementation == "naive":
        layer = Attention(CHANNELS, form)
    else:
        layer = SelfAttention2d(CHANNELS, form, spectral_norm=False, backend=implementation)  # type: ignore[arg-type]
    nn.init.ones_(layer.gamma)
    return layer


def inputs(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a feature map (1, C, H, W) and a gradient of the output."""
    shape = (1, CHANNELS, side, side)
    x = torch.randn(shape).to(memory_format=torch.channels_last).requires_grad_()
    return x, torch.randn(shape).to(memory_format=torch.channels_last)


def run(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> None:
    """Run one forward and backward pass."""
    x.grad = None
    layer(x).backward(gradient)


def status_bytes(name: str) -> int:
    """Return a line of /proc/self/status, such as VmRSS, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def table(results: list[MemoryResult]) -> list[str]:
    """Return the figures as lines of Markdown."""
    lines = [
        f"One layer, C = {CHANNELS}, batch 1, float32, forward and backward: "
        "seconds, MB above the inputs.",
        "",
        f"| form | N | {' | '.join(IMPLEMENTATIONS)} |",
        f"| --- | --- |{' --- |' * len(IMPLEMENTATIONS)}",
    ]
    found = {(result.form, result.positions, result.implementation): result for result in results}
    for form, positions in dict.fromkeys((result.form, result.positions) for result in results):
        cells = []
        for implementation in IMPLEMENTATIONS:
            result = found.get((form, positions, implementation))
            cells.append(
                f"{result.seconds:.4f} s, {result.peak_bytes / 1e6:,.1f} MB"
                if result
                else "not enough memory"
            )
        lines.append(f"| {form} | {positions:,} | {' | '.join(cells)} |")
    return lines
