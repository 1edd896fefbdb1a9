"""A plan for the time that a person has: which recipe, and how many steps of it.

Wide networks, several D steps and large batches draw better images in the end, but not in the
first thousand steps. Which recipe is best depends on how many steps this machine does in the time,
so a few steps of each are timed: `sagan.presets.LADDERS`.
"""

import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from sagan.data import PackedDataset
from sagan.nn.precision import exact_float32
from sagan.run.directory import RunDescription
from sagan.runtime.determinism import deterministic_kernels
from sagan.runtime.processes import make_accelerator
from sagan.training.pace import (
    TIMED_STEPS,
    WARM_UP_STEPS,
    Estimate,
    affordable_steps,
    estimate,
    expected_overhead,
)
from sagan.training.session import Candidate, Session
from sagan.training.state import Training
from sagan.types import Notify

DECAY = 0.5  # share of a planned training in which the learning rates fall
# Presets count on many steps. A planned training has this many of each, or fewer sample grids where
# they would take too much of the time.
GRIDS, RECORDS, EVALUATIONS = 40, 50, 8
GRID_SECONDS = 40.0  # of training for each grid, which takes about one


def make_plan(session: Session, notify: Notify) -> Session:
    """Choose recipe and steps of a new run with a time limit; return other sessions as they are.

    Every process calls this.

    Args:
        session: as prepared.
        notify: called with one line that says what was chosen.
    """
    if not session.plan:
        return session
    first, *dearer = session.plan.candidates
    chosen, steps = first.description, _affordable_steps(session, first)
    for candidate in dearer:
        # It is not even timed if there are too few steps of a cheaper one.
        if steps < candidate.from_steps:
            break
        fewer = _affordable_steps(session, candidate)
        if fewer < candidate.from_steps:
            break
        chosen, steps = candidate.description, fewer
    planned = _planned_settings(steps, 60 * chosen.config.minutes)
    kept = {key: value for key, value in planned.items() if key not in session.plan.given}
    config = chosen.config.model_copy(update=kept)
    notify(f"plan: {chosen.preset}, {config.steps:,} steps in {config.minutes:g} minutes")
    return replace(session, description=replace(chosen, config=config), plan=None)


def _affordable_steps(session: Session, candidate: Candidate) -> int:
    """Return how many steps of a recipe fit into its time limit on this machine."""
    config = candidate.description.config
    step_seconds = estimate_training(candidate.description, session.dataset).step_seconds
    return affordable_steps(60 * config.minutes, step_seconds, expected_overhead(config))


def _planned_settings(steps: int, seconds: float) -> dict[str, Any]:
    grids = max(1, min(GRIDS, int(seconds / GRID_SECONDS)))
    return {
        "steps": steps,
        "lr_decay": DECAY,
        "sample_every": max(1, steps // grids),
        "log_every": max(1, steps // RECORDS),
        "evaluate_every": max(1, steps // EVALUATIONS),
    }


def estimate_training(
    description: RunDescription, dataset: PackedDataset, done: int = 0
) -> Estimate:
    """Return what a training will take, from a few timed steps, which are then forgotten.

    Every process calls this.

    Args:
        description: configuration and data.
        dataset: the images.
        done: steps that are done already.
    """
    times = []
    with ExitStack() as stack:
        stack.enter_context(deterministic_kernels(description.config.deterministic))
        training = Training(description, dataset, make_accelerator())
        in_float32 = training.adversaries.precision == torch.float32
        stack.enter_context(exact_float32(enabled=in_float32))
        for _ in range(WARM_UP_STEPS + TIMED_STEPS):
            started = time.perf_counter()
            training.advance()
            training.check_finite()  # waits for the device
            times.append(time.perf_counter() - started)
    microseconds = round(1e6 * statistics.median(times[WARM_UP_STEPS:]))
    (slowest,) = training.processes.all_reduce_max(microseconds)
    training.step = done
    return estimate(training, slowest / 1e6)
