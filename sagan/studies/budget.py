"""How many steps each run can have if all runs together are to take a given time.

Equal training means equal steps, so it is not the time that is divided: the steps are chosen. The
time of a step differs between variants, and evaluation takes time as well; both are measured by
running each variant for a few steps, from beginning to end.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sagan.config import MAX_STEPS
from sagan.errors import SaganError
from sagan.studies.run import RunMetrics, StudyRun

PROBE_STEPS = 24
USABLE_SHARE = 0.95  # of the time; the rest is a reserve
MIN_STEPS = 10

Perform = Callable[[StudyRun], RunMetrics]


@dataclass(frozen=True)
class Cost:
    """Cost of a run of a variant.

    Attributes:
        step: seconds per step.
        rest: seconds for everything else: startup, sample grids, evaluation.
    """

    step: float
    rest: float

    def seconds(self, steps: int) -> float:
        """Return the seconds of a run of `steps` steps."""
        return self.rest + self.step * steps


def measure_cost(run: StudyRun, perform: Perform) -> Cost:
    """Time a run of `PROBE_STEPS` steps from beginning to end."""
    started = time.perf_counter()
    metrics = perform(run)
    rest = time.perf_counter() - started - PROBE_STEPS * metrics.step_seconds
    return Cost(metrics.step_seconds, max(0.0, rest))


def mean_concurrency(runs: int, jobs: int) -> float:
    """Return how many runs are active at a time, on average.

    Nine runs, two at a time, take five rounds, and in the last round one runs alone: 1.8.
    """
    return runs / math.ceil(runs / jobs)


def affordable_steps(costs: Sequence[Cost], seconds: float, jobs: int) -> int:
    """Return the steps that each run can have so that all of them together fit into `seconds`.

    Args:
        costs: of each run that is still missing.
        seconds: available time.
        jobs: runs at a time, assumed not to slow each other down.

    Raises:
        SaganError: the time does not suffice for `MIN_STEPS`, or no run trains.
    """
    concurrency = mean_concurrency(len(costs), jobs)
    available = USABLE_SHARE * seconds * concurrency
    rest, step = sum(cost.rest for cost in costs), sum(cost.step for cost in costs)
    if not step:
        raise SaganError(
            "--budget-minutes chooses the steps, but none of these runs trains: give --steps"
        )
    steps = math.floor(min((available - rest) / step, MAX_STEPS))
    if steps < MIN_STEPS:
        needed = sum(cost.seconds(MIN_STEPS) for cost in costs) / concurrency / USABLE_SHARE
        raise SaganError(
            f"{max(0.0, seconds) / 60:.1f} of --budget-minutes are left, but {len(costs)} runs of "
            f"{MIN_STEPS} steps need {needed / 60:.1f}, most of it for evaluation: give more "
            "minutes, or fewer --variants or --seeds"
        )
    return steps
