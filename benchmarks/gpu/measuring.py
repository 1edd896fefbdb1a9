"""Time, memory and waits of a piece of work on any device."""

import math
import statistics
import time
import warnings
from collections.abc import Callable

import torch

SLOW = 4.0  # seconds of a call that is not repeated to warm up
TURNS = 3


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was asked to."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def passes_without_graphs() -> int:
    """Return how many compiled passes torch has refused to record as CUDA graphs so far."""
    return int(torch._dynamo.utils.counters["inductor"]["cudagraph_skips"])


def warm(device: torch.device, work: Callable[[], object]) -> float:
    """Compile, choose kernels, allocate memory and record graphs; return the time of a call."""
    work()
    second = seconds_of(device, work, 1)
    if second > SLOW:
        return second
    work()
    return seconds_of(device, work, 1)


def seconds_of(device: torch.device, work: Callable[[], object], number: int) -> float:
    wait_for(device)
    started = time.perf_counter()
    for _ in range(number):
        work()
    wait_for(device)
    return (time.perf_counter() - started) / number


def restart_peak(device: torch.device) -> int:
    """Return the bytes that are allocated, and measure the peak from now on."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return int(torch.cuda.memory_allocated(device))


def peak_since(device: torch.device, before: int) -> int | None:
    """Return the peak since then; None where torch does not count it.

    It includes the first steps: what a graph's replay uses was allocated when it was recorded.
    """
    if device.type != "cuda":
        return None
    return int(torch.cuda.max_memory_allocated(device)) - before


def waits_of(device: torch.device, work: Callable[[], object]) -> int | None:
    """Return how often a step waits for the device, which ours should not; None off CUDA."""
    if device.type != "cuda":
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in found)


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Return the median seconds of a call."""
    once = warm(device, work)
    number = max(1, min(50, math.ceil(0.1 / once)))
    return statistics.median(seconds_of(device, work, number) for _ in range(TURNS))
