"""Time of one attention layer, forward and backward: "auto" and two eager implementations."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.memory import available_bytes
from benchmarks.naive import Attention
from benchmarks.timing import Times, alternate, progress, ratios, seconds, spread
from sagan.nn.attention import SelfAttention2d

SIDES = (16, 32, 64)  # N = 256, 1,024, 4,096
BATCHES = (1, 32)
CHANNELS = (64, 256)
PRECISIONS = ("float32", "bfloat16")
SHORTEST = 0.05  # seconds that one timing takes at least


@dataclass(frozen=True)
class AttentionResult:
    """Figures of one shape.

    Attributes:
        form: published form of the layer.
        precision: of the products; float32, or bfloat16 by autocast.
        channels: C.
        batch: B.
        positions: N.
        seconds: "auto", "eager" (ours) and "naive" (popular code's layer, NCHW).
    """

    form: str
    precision: str
    channels: int
    batch: int
    positions: int
    seconds: Times

    def over_fastest_eager(self) -> list[float]:
        """Return time of "auto" / time of the faster eager implementation, by repetition."""
        eager = min((self.seconds["eager"], self.seconds["naive"]), key=statistics.median)
        return ratios(self.seconds["auto"], eager)


def measure(
    forms: Sequence[str], precisions: Sequence[str], sides: Sequence[int], repetitions: int
) -> list[AttentionResult]:
    """Measure every shape with maps that fit into free memory."""
    results = []
    for shape in itertools.product(forms, precisions, CHANNELS, BATCHES, sides):
        form, precision, channels, batch, side = shape
        title = f"{form} {precision} C = {channels} B = {batch} N = {side**2:,}"
        if 4 * 4 * batch * side**4 > available_bytes():
            progress(f"{title}: skipped, not enough memory")
            continue
        times = _measure_shape(form, getattr(torch, precision), channels, batch, side, repetitions)
        results.append(AttentionResult(form, precision, channels, batch, side**2, times))
        progress(
            f"{title}: auto over the fastest eager {spread(results[-1].over_fastest_eager(), 2)}"
        )
    return results


def _measure_shape(
    form: str, dtype: torch.dtype, channels: int, batch: int, side: int, repetitions: int
) -> Times:
    layers: dict[str, nn.Module] = {
        backend: SelfAttention2d(channels, form, spectral_norm=False, backend=backend)  # type: ignore[arg-type]
        for backend in ("auto", "eager")
    }
    layers["naive"] = Attention(channels, form)
    works: dict[str, Callable[[], None]] = {}
    for name, layer in layers.items():
        layout = torch.contiguous_format if name == "naive" else torch.channels_last
        nn.init.ones_(layer.gamma)  # type: ignore[arg-type]
        x = torch.randn(batch, channels, side, side, dtype=dtype).to(memory_format=layout)
        works[name] = _pass(layer.to(memory_format=layout), x, torch.randn_like(x))
        works[name]()
    # Short calls are repeated, so that the clock and a cold cache do not count.
    calls = max(1, round(SHORTEST / seconds(works["auto"])))
    return {
        name: [taken / calls for taken in times]
        for name, times in alternate(
            {name: _repeated(work, calls) for name, work in works.items()}, repetitions, ""
        ).items()
    }


def _pass(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> Callable[[], None]:
    x.requires_grad_()

    def work() -> None:
        x.grad = None
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=x.dtype == torch.bfloat16):
            y = layer(x)
        y.backward(gradient.to(y.dtype))

    return work


def _repeated(work: Callable[[], None], calls: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(calls):
            work()

    return repeated


def table(results: list[AttentionResult]) -> list[str]:
    """Return the figures as lines of Markdown."""
    lines = [
        "One layer, forward and backward, milliseconds; the last column is auto over the faster "
        "eager implementation.",
        "",
        "| form | precision | C | B | N | auto | eager | naive | auto / fastest eager |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        cells = [f"{1000 * statistics.median(times):,.2f}" for times in result.seconds.values()]
        lines.append(
            f"| {result.form} | {result.precision} | {result.channels} | {result.batch} "
            f"| {result.positions:,} | {' | '.join(cells)} "
            f"| {spread(result.over_fastest_eager(), 2)} |"
        )
    return lines
