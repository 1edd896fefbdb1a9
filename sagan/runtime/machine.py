"""The machine's means to train: cores, native bfloat16, an accelerator.

torch is imported only when the machine is looked at.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """What decides how fast a training is here.

    Attributes:
        cores: that this process may use.
        has_bfloat16: whether the CPU multiplies bfloat16 natively.
        has_gpu: whether torch finds an accelerator.
    """

    cores: int
    has_bfloat16: bool
    has_gpu: bool


def available_cores() -> int:
    """Return how many cores this process may run on, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def this_machine() -> Machine:
    """Look at the machine; this imports torch."""
    from sagan.runtime.device import CPU, choose_device, multiplies_bfloat16

    return Machine(available_cores(), multiplies_bfloat16(CPU), choose_device() != CPU)
