"""Many machines, computed: what a step sends, and the share of its time that is left for work.

Data-parallel training averages gradients once in each update: D's `d_steps` times a step, G's
once, float32. A ring all-reduce sends and receives 2 (W - 1) / W of the gradients' bytes in every
process (Patarasuk & Yuan 2009). Each process keeps the measured batch (weak scaling).
Efficiency is the step's time alone over its time with communication: once with none of it hidden
behind the backward pass (the worst case), and once with all of it hidden that the backward pass,
taken as half the step, can hide. Latencies, slow neighbors and contention are not in it.
"""

from dataclasses import dataclass

import torch

from benchmarks import naive
from benchmarks.step import NUM_CLASSES, configuration

GIGABITS = (1, 10, 100)
PROCESSES = (2, 8, 64)
BACKWARD = 0.5  # share of a step in which gradients become ready and can travel


@dataclass(frozen=True)
class Communication:
    """Bytes of gradients that a step averages."""

    generator: int
    discriminator: int
    d_steps: int

    @property
    def bytes(self) -> int:
        return self.generator + self.d_steps * self.discriminator


def communication(preset: str) -> Communication:
    """What one step of a preset averages."""
    config = configuration(preset)
    with torch.device("meta"):
        networks = naive.build(config, NUM_CLASSES)
    generator, discriminator = (
        sum(4 * parameter.numel() for parameter in network.parameters()) for network in networks
    )
    return Communication(generator, discriminator, config.d_steps)


def ring_seconds(num_bytes: int, processes: int, gigabits: float) -> float:
    """Time of one ring all-reduce at this bandwidth each way."""
    return 2 * (processes - 1) / processes * num_bytes * 8 / (gigabits * 1e9)


def efficiencies(step: float, sending: float) -> tuple[float, float]:
    """Nothing hidden, and all hidden that can be."""
    return step / (step + sending), step / (step + max(0.0, sending - BACKWARD * step))


def table(step_seconds: dict[str, float]) -> list[str]:
    """The plan as lines of markdown, from each preset's measured seconds a step."""
    lines = [
        "Efficiency with nothing hidden to all hidden that can be, at so many Gbit/s:",
        "",
        "| preset | step, s | MB of G | MB of D | MB a step | processes "
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
