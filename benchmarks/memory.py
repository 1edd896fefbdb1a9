"""Time and peak memory of one attention layer, forward and backward, against N.

Each figure is of a process of its own: a tiny call first, which loads the kernels, then the inputs,
then the kernel's account of the process's peak (VmHWM) is reset, and what it reaches above the
memory in use at that moment is the peak "above the inputs". Linux only.
"""

import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.naive import Attention
from benchmarks.timing import progress, seconds
from sagan.nn.attention import FORMS, SelfAttention2d
from sagan.nn.attention_kernels import BACKENDS

CHANNELS = 64
SIDES = (8, 16, 32, 64, 128, 256)  # N = 64 ... 65,536
WAYS = ("naive", *BACKENDS, "auto")  # naive: the popular code's layer


@dataclass(frozen=True)
class MemoryResult:
    """One layer's figures, batch 1, float32.

    Attributes:
        form: published form of the layer.
        way: a backend of ours, or "naive".
        positions: N.
        seconds: of one forward and backward pass, the median.
        peak_bytes: above the inputs.
    """

    form: str
    way: str
    positions: int
    seconds: float
    peak_bytes: int


def measure(forms: list[str], sides: list[int], repetitions: int) -> list[MemoryResult]:
    """Every form, way and size that this machine's free memory allows."""
    results = []
    for form in forms:
        for side in sides:
            for way in WAYS:
                if needed_bytes(form, way, side) > available_bytes():
                    progress(f"{form}, {way}, N = {side**2:,}: left out, not enough memory")
                    continue
                result = in_a_process(form, way, side, repetitions)
                progress(
                    f"{form}, {way}, N = {side**2:,}: {result.seconds:.4f} s, "
                    f"{result.peak_bytes / 1e6:,.1f} MB"
                )
                results.append(result)
    return results


def needed_bytes(form: str, way: str, side: int) -> int:
    """Roughly: four maps are alive at once in the backward pass of those that make a map."""
    positions = side**2
    attended = positions // 4 if FORMS[form].pool else positions
    return 4 * 4 * positions * attended if way in ("naive", "eager") else 0


def available_bytes() -> int:
    """Memory that the system can still give."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def in_a_process(form: str, way: str, side: int, repetitions: int) -> MemoryResult:
    """Measure one layer in a new process."""
    command = [sys.executable, "-m", "benchmarks.memory", form, way, str(side), str(repetitions)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return MemoryResult(**json.loads(done.stdout))


def measure_here(form: str, way: str, side: int, repetitions: int) -> MemoryResult:
    """Measure one layer in this process, which must be fresh. Long calls are not repeated."""
    layer = build_layer(form, way)
    run(layer, *inputs(8))
    x, gradient = inputs(side)
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    taken = [seconds(lambda: run(layer, x, gradient))]
    peak = max(0, status_bytes("VmHWM") - before)
    if taken[0] < 1:
        taken = [seconds(lambda: run(layer, x, gradient)) for _ in range(repetitions)]
    return MemoryResult(form, way, side**2, statistics.median(taken), peak)


def build_layer(form: str, way: str) -> nn.Module:
    """A layer with gamma off 0, as in a trained network."""
    layer: nn.Module
    if way == "naive":
        layer = Attention(CHANNELS, form)
    else:
        layer = SelfAttention2d(CHANNELS, form, spectral_norm=False, backend=way)  # type: ignore[arg-type]
    nn.init.ones_(layer.gamma)  # type: ignore[arg-type]
    return layer


def inputs(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A feature map (1, C, H, W) and the gradient that comes back to its output."""
    shape = (1, CHANNELS, side, side)
    x = torch.randn(shape).to(memory_format=torch.channels_last).requires_grad_()
    return x, torch.randn(shape).to(memory_format=torch.channels_last)


def run(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> None:
    """One forward and backward pass."""
    x.grad = None
    layer(x).backward(gradient)


def status_bytes(name: str) -> int:
    """A line of /proc/self/status, such as VmRSS, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def table(results: list[MemoryResult]) -> list[str]:
    """The figures as lines of markdown."""
    lines = [
        f"One layer, C = {CHANNELS}, batch 1, float32, forward and backward: "
        "seconds, MB above the inputs.",
        "",
        f"| form | N | {' | '.join(WAYS)} |",
        f"| --- | --- |{' --- |' * len(WAYS)}",
    ]
    found = {(result.form, result.positions, result.way): result for result in results}
    for form, positions in dict.fromkeys((result.form, result.positions) for result in results):
        cells = []
        for way in WAYS:
            result = found.get((form, positions, way))
            cells.append(
                f"{result.seconds:.4f} s, {result.peak_bytes / 1e6:,.1f} MB"
                if result
                else "no memory"
            )
        lines.append(f"| {form} | {positions:,} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    _, chosen_form, chosen_way, chosen_side, times = sys.argv
    print(json.dumps(asdict(measure_here(chosen_form, chosen_way, int(chosen_side), int(times)))))
