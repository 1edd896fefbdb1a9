"""The pace of a training: what it will take, and how many steps fit into a time limit.

Equal steps give equal bits, so a time limit is kept by choosing the number of steps. It is chosen
before the first step, and corrected once the speed is known better: early, and again before the
learning rates fall, which no step so far has depended on.
"""

import math
import statistics
import time
from collections import deque
from dataclasses import dataclass

import psutil
import torch

from sagan.config import MAX_STEPS, Config
from sagan.errors import SaganError
from sagan.run.checkpoint import KEEP
from sagan.training.state import Training

# Shares of the time limit after which the number of steps is corrected.
CORRECTIONS = (0.05, 0.5)
# Corrections smaller than this share of the steps are not worth a changed plan.
TOLERANCE = 0.02
# The limit is for people: a run may take this much longer rather than end with rates too high.
GRACE = 1.05
# Time of sample grids, checkpoints and records, as a share of the time of steps, until it is known.
OVERHEAD = 0.03
WARM_UP_STEPS = 1  # in which kernels are chosen and memory is allocated
TIMED_STEPS = 3
WINDOW = 200  # steps whose median is the speed


@dataclass(frozen=True)
class Estimate:
    """What a training will take on this machine.

    Attributes:
        steps: in all.
        step_seconds: of one step.
        seconds: from now to the end, with evaluations, sample grids and checkpoints.
        disk: bytes of the checkpoints that stay, at most.
        memory: bytes that this process takes; on CUDA those of the GPU, the most so far.
    """

    steps: int
    step_seconds: float
    seconds: float
    disk: int
    memory: int


def expected_overhead(config: Config) -> float:
    """Return the time of everything but steps, as a share of the time of steps."""
    return OVERHEAD + (config.evaluate_share if config.evaluate_every else 0.0)


def affordable_steps(seconds: float, step_seconds: float, overhead: float, done: int = 0) -> int:
    """Return how many steps to do in all: those done, and as many as fit into a time, at least one.

    There are at most as many as a configuration may have.

    Args:
        seconds: the time.
        step_seconds: of a step.
        overhead: time of everything but steps, as a share of the time of steps.
        done: steps done before.
    """
    fitting = max(1, math.floor(seconds / (step_seconds * (1 + overhead))))
    return min(done + fitting, MAX_STEPS)


def estimate(training: Training, step_seconds: float) -> Estimate:
    """Return what the rest of a training will take if its steps take this long."""
    left = (training.steps - training.step) * step_seconds
    every = training.config.keep_every
    kept = KEEP + (training.steps // every if every else 0)
    return Estimate(
        training.steps,
        step_seconds,
        left * (1 + expected_overhead(training.config)),
        kept * training.checkpoint_bytes(),
        _memory_of(training.accelerator.device),
    )


def _memory_of(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


class Pace:
    """Times the steps of a training, and keeps it to its time limit if it has one.

    Args:
        training: at its start, or restored.
        limit_changed: whether its steps were chosen for another time limit, or for none.

    Raises:
        SaganError: the training has taken longer than the limit already.
    """

    def __init__(self, training: Training, limit_changed: bool = False) -> None:
        self._training = training
        self._limit = 60 * training.config.minutes or math.inf
        self._last, self._seconds = time.monotonic(), training.seconds
        self._done = 0  # steps of this process
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._corrections = [
            share * self._limit for share in CORRECTIONS if training.elapsed < share * self._limit
        ]
        if limit_changed and training.config.minutes and training.step > 0:
            self._extend()

    def _extend(self) -> None:
        """Choose the steps for a new limit by the speed so far, to be corrected soon."""
        training = self._training
        left = self._limit - training.elapsed
        if left <= 0:
            raise SaganError(
                f"this run has taken {training.elapsed / 60:.3g} minutes already: give more with "
                "--minutes, or another --out"
            )
        speed = training.seconds / training.step
        overhead = training.elapsed / training.seconds - 1
        training.steps = affordable_steps(left, speed, overhead, training.step)
        self._corrections.insert(0, training.elapsed + CORRECTIONS[0] * left)

    def stepped(self) -> None:
        """Record that a step, and everything after the one before, has ended."""
        training, now = self._training, time.monotonic()
        training.elapsed += now - self._last
        self._done += 1
        if self._done > WARM_UP_STEPS:
            self._recent.append(training.seconds - self._seconds)
        self._last, self._seconds = now, training.seconds

    @property
    def late(self) -> bool:
        """Whether the time limit has passed, and some more."""
        elapsed = self._training.elapsed + time.monotonic() - self._last
        return elapsed > GRACE * self._limit

    @property
    def known(self) -> bool:
        """Whether the step that has just ended makes the first estimate possible."""
        return self._done == WARM_UP_STEPS + TIMED_STEPS

    def steps_in(self, seconds: float) -> int:
        """Return how many steps fit into a time, at least one; one while the speed is unknown."""
        return max(1, math.floor(seconds / self._step_seconds)) if self._recent else 1

    def estimate(self) -> Estimate:
        """Return what the rest of the training will take."""
        return estimate(self._training, self._step_seconds)

    def corrected_steps(self) -> int:
        """Return how many steps to do in all, if that is to be corrected now; else 0."""
        training = self._training
        if not (self._corrections and self._recent and training.elapsed >= self._corrections[0]):
            return 0
        del self._corrections[0]
        overhead = expected_overhead(training.config)
        if not self._corrections:  # enough has been seen of it
            overhead = training.elapsed / training.seconds - 1
        left = max(0.0, self._limit - training.elapsed)
        steps = affordable_steps(left, self._step_seconds, overhead, training.step)
        return steps if abs(steps - training.steps) > TOLERANCE * training.steps else 0

    @property
    def _step_seconds(self) -> float:
        return statistics.median(self._recent)
