"""Timing of alternatives, taken in turn so that a machine's drift affects all alike."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping

Times = dict[str, list[float]]

PATIENCE = 30.0  # seconds after which no further turn starts, except for the second


def seconds(work: Callable[[], object]) -> float:
    """Return the time that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(works: Mapping[str, Callable[[], object]], repetitions: int, title: str) -> Times:
    """Return the seconds of each work at each repetition; warming up is up to the caller.

    Turns end early once they have taken `PATIENCE`, after the second at the earliest.
    """
    times: Times = {name: [] for name in works}
    for repetition in range(1, repetitions + 1):
        if repetition > 2 and sum(map(sum, times.values())) > PATIENCE:
            break
        for name, work in works.items():
            times[name].append(seconds(work))
            progress(f"{title}: {name} {repetition}/{repetitions}: {times[name][-1]:.4f} s")
    return times


def progress(line: str) -> None:
    """Print progress to standard error; standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def ratios(slow: list[float], fast: list[float]) -> list[float]:
    """Return slow / fast, repetition by repetition."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def spread(values: list[float], digits: int = 3) -> str:
    """Return median and range as text."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"
