"""Many machines, computed: the bytes that a step sends, and the efficiency that remains.

Data-parallel training averages float32 gradients once per update: D's `d_steps` times per step,
G's once. In a ring all-reduce, every process sends and receives 2 (W - 1) / W of the gradients'
bytes (Patarasuk & Yuan 2009). Each process keeps the measured batch (weak scaling). Efficiency is
the time of a step without communication over its time with it: in the worst case nothing overlaps
with the backward pass, in the best case as much as half the step can hide. Latency, slow neighbors
and contention are not included. `scripts/bandwidth.py` measures the same on simulated machines.
"""

from dataclasses import dataclass

import torch

from benchmarks import naive
from benchmarks.workload import NUM_CLASSES, configuration

GIGABITS = (1, 10, 100)
PROCESSES = (2, 8, 64)
BACKWARD = 0.5  # share of a step in which gradients are computed and can be sent


@dataclass(frozen=True)
class Communication:
    """Bytes of gradients averaged in a step."""

    generator: int
    discriminator: int
    d_steps: int

    @property
    def bytes(self) -> int:
        return self.generator + self.d_steps * self.discriminator


def communication(preset: str) -> Communication:
    """Return the bytes that one step of a preset averages."""
    config = configuration(preset)
    with torch.device("meta"):
        networks = naive.build(config, NUM_CLASSES)
    generator, discriminator = (
        sum(4 * parameter.numel() for parameter in network.parameters()) for network in networks
    )
    return Communication(generator, discriminator, config.d_steps)


def ring_seconds(num_bytes: int, processes: int, gigabits: float) -> float:
    """Return the time of one ring all-reduce at this bandwidth in each direction."""
    return 2 * (processes - 1) / processes * num_bytes * 8 / (gigabits * 1e9)


def efficiencies(step: float, sending: float) -> tuple[float, float]:
    """Return the worst and the best case, in [0, 1]."""
    return step / (step + sending), step / (step + max(0.0, sending - BACKWARD * step))


def modeled_seconds(
    preset: str, processes: int, gigabits: float, step: float
) -> tuple[float, float, float]:
    """Return the time of sending, and that of a step in the worst and in the best case.

    Args:
        preset: whose gradients are sent.
        processes: how many send.
        gigabits: bandwidth of each process's link, in each direction, per second.
        step: the time of a step without sending.
    """
    sending = ring_seconds(communication(preset).bytes, processes, gigabits)
    worst, best = efficiencies(step, sending)
    return sending, step / worst, step / best


def table(step_seconds: dict[str, float]) -> list[str]:
    """Return the figures as lines of Markdown, from each preset's measured seconds per step."""
    lines = [
        "Efficiency, from no overlap with the backward pass to the best overlap, at 1, 10 and "
        "100 Gbit/s:",
        "",
        "| preset | step, s | MB of G | MB of D | MB per step | processes "
        f"| {' | '.join(map(str, GIGABITS))} |",
        f"| --- | --- | --- | --- | --- | --- |{' --- |' * len(GIGABITS)}",
    ]
    for preset, step in step_seconds.items():
        sent = communication(preset)
        for processes in PROCESSES:
            cells = []
            for gigabits in GIGABITS:
                worst, best = efficiencies(step, ring_seconds(sent.bytes, processes, gigabits))
                cells.append(f"{worst:.0%} to {best:.0%}")
            lines.append(
                f"| `{preset}` | {step:.3f} | {sent.generator / 1e6:.1f} "
                f"| {sent.discriminator / 1e6:.1f} | {sent.bytes / 1e6:.1f} | {processes} "
                f"| {' | '.join(cells)} |"
            )
    return lines
