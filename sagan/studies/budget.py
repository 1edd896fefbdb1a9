"""How many steps each run can have, if all of them together are to take so many minutes.

Equal training means equal steps, so the time is not divided, but the steps are chosen. What a step
takes differs from variant to variant, and measuring takes its time as well: both are found out by
running each variant for a few steps, from beginning to end.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sagan.errors import SaganError
from sagan.studies.run import Findings, Run

PROBE_STEPS = 24
RESERVE = 0.95  # of the time is planned with
LEAST_STEPS = 10

Perform = Callable[[Run], Findings]


@dataclass(frozen=True)
class Cost:
    """What a run of a variant takes.

    Attributes:
        step: seconds of a step.
        rest: seconds of everything else: starting, pictures, measuring.
    """

    step: float
    rest: float

    def seconds(self, steps: int) -> float:
        """Of a run of so many steps."""
        return self.rest + self.step * steps


def probe(run: Run, perform: Perform) -> Cost:
    """Run a variant of `PROBE_STEPS` steps from beginning to end."""
    started = time.perf_counter()
    findings = perform(run)
    return cost_of(findings.step_seconds, time.perf_counter() - started)


def cost_of(step_seconds: float, whole_seconds: float) -> Cost:
    """From a short run's seconds per step, and all it took."""
    return Cost(step_seconds, max(0.0, whole_seconds - PROBE_STEPS * step_seconds))


def at_once(runs: int, jobs: int) -> float:
    """Runs at a time on average: nine by twos take five turns, and the last one is alone."""
    return runs / math.ceil(runs / jobs)


def affordable_steps(costs: Sequence[Cost], seconds: float, jobs: int) -> int:
    """Steps that each of these runs can have, so that all of them take that time together.

    Args:
        costs: of each run that is to be done.
        seconds: that there are.
        jobs: runs at a time; they are taken not to be in each other's way.

    Raises:
        SaganError: there is not enough time for `LEAST_STEPS`, or none of them trains.
    """
    jobs_filled = at_once(len(costs), jobs)
    available = RESERVE * seconds * jobs_filled
    rest, step = sum(cost.rest for cost in costs), sum(cost.step for cost in costs)
    if not step:
        raise SaganError(
            "--budget-minutes chooses steps, and none of these runs trains: give --steps"
        )
    steps = math.floor((available - rest) / step)
    if steps < LEAST_STEPS:
        least = sum(cost.seconds(LEAST_STEPS) for cost in costs) / jobs_filled / RESERVE
        raise SaganError(
            f"{max(0.0, seconds) / 60:.1f} of --budget-minutes are left, and {len(costs)} runs of "
            f"{LEAST_STEPS} steps need {least / 60:.1f}, most of it for measuring: give more, or "
            "fewer --variants or --seeds"
        )
    return steps
