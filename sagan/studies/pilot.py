"""How many seeds a study needs, from a pilot: some short runs of each variant."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from sagan.display import duration
from sagan.errors import SaganError, counted
from sagan.studies.analysis.power import (
    MAX_PLANNED,
    POWER,
    planned_looks,
    seeds_needed,
    upper_deviation,
)
from sagan.studies.budget import Cost, mean_concurrency
from sagan.studies.plan import StudyPlan
from sagan.studies.record import PlanRecord
from sagan.studies.results import Result
from sagan.studies.study import Claim, SmallestEffect, Study


def lay_down(plan: StudyPlan, results: Sequence[Result]) -> PlanRecord:
    """Return the plan of a study that decides each of its claims with `POWER`.

    Claims about the same number share one deviation, the root mean square of theirs.

    Args:
        plan: the study, with the pilot among the request.
        results: of the pilot's runs.

    Raises:
        SaganError: no claim has both of its variants, its differences do not vary, or it would
            need more seeds than anybody runs.
    """
    assert plan.request.pilot is not None
    smallest = plan.study.effects(plan.study.sizes_of(plan.request.pilot.deltas))
    runs = {(result.variant, result.seed): result for result in results}
    claims = _claims(plan.study, [variant.name for variant in plan.variants])
    seeds = sorted({result.seed for result in results})
    deviations: dict[str, float] = {}
    assumed: dict[str, float] = {}
    # Claims within runs are not planned for: what a cut does is no difference between trainings.
    between = [claim for claim in claims if not claim.is_within_runs]
    if not between:
        raise SaganError("no claim compares two of these variants: give other --variants")
    for number in dict.fromkeys(claim.number for claim in between):
        about = [claim for claim in between if claim.number == number]
        differences = np.array(
            [_differences(claim, runs, seeds, smallest[number]) for claim in about]
        )
        deviations[number] = float(np.sqrt(differences.var(axis=1, ddof=1).mean()))
        # Claims that share a variant tell little more of the deviation than one of them does.
        assumed[number] = upper_deviation(deviations[number], len(seeds) - 1)
    needed = [_needed(smallest[number], assumed[number], number, len(claims)) for number in assumed]
    looks = planned_looks(max(needed))
    costs = pilot_costs(results)
    return PlanRecord(
        deltas={number: effect.size for number, effect in smallest.items()},
        claims=len(claims),
        variants=[variant.name for variant in plan.variants],
        looks=list(looks),
        deviations=deviations,
        assumed=assumed,
        pilot_steps=results[0].config.steps,
        core_hours=looks[-1] * _seconds_of_a_seed(plan, costs) / 3600 * _threads(results),
    )


def _claims(study: Study, variants: Collection[str]) -> list[Claim]:
    """Return the claims that these variants allow."""
    return [claim for claim in study.claims if {claim.variant, claim.against} <= set(variants)]


def _differences(
    claim: Claim, runs: dict[tuple[str, int], Result], seeds: Sequence[int], delta: SmallestEffect
) -> np.ndarray:
    """Return the paired differences of a claim in units of delta's size, (seeds,)."""
    one, other = (
        np.array([_number(runs[name, seed], claim.number) for seed in seeds])
        for name in (claim.variant, claim.against)
    )
    return (one - other) / (other.mean() if delta.relative else 1.0)


def _number(result: Result, number: str) -> float:
    if number not in result.numbers:
        raise SaganError(
            f"the pilot's run {result.name} has no {number}, perhaps because it diverged: give "
            "more --pilot-steps, or other --set"
        )
    return result.numbers[number]


def _needed(delta: SmallestEffect, deviation: float, number: str, claims: int) -> int:
    if deviation == 0:
        raise SaganError(
            f"{number} is the same for all seeds of the pilot: give more --pilot-steps"
        )
    seeds = seeds_needed(delta.size / deviation, claims)
    if seeds is not None:
        return seeds
    raise SaganError(
        f"{number} varies so much between the pilot's seeds that a difference of {delta.size:g} "
        f"would take more than {MAX_PLANNED:,} seeds: give a larger --delta, or more steps"
    )


def pilot_costs(results: Sequence[Result]) -> dict[str, Cost]:
    """Return the mean cost of a run of each variant, from the pilot's times."""
    by_variant: dict[str, list[Result]] = {}
    for result in results:
        by_variant.setdefault(result.variant, []).append(result)
    return {
        name: Cost(
            step=float(np.mean([r.cost["step"] for r in runs])),
            rest=float(
                np.mean([max(0.0, r.cost["whole"] - r.config.steps * r.cost["step"]) for r in runs])
            ),
        )
        for name, runs in by_variant.items()
    }


def _seconds_of_a_seed(plan: StudyPlan, costs: dict[str, Cost]) -> float:
    return sum(costs[variant.name].seconds(plan.config.steps) for variant in plan.variants)


def _threads(results: Sequence[Result]) -> float:
    """Return the mean number of threads of a run: core-hours to an hour."""
    return float(np.mean([r.core_hours * 3600 / r.cost["whole"] for r in results]))


def plan_lines(
    plan: StudyPlan, laid_down: PlanRecord, results: Sequence[Result], jobs: int
) -> Iterator[str]:
    """Yield what was laid down, in lines for the user.

    Args:
        plan: the study.
        laid_down: its plan.
        results: of the pilot's runs.
        jobs: number of runs at a time.
    """
    smallest = plan.study.effects(laid_down.deltas)
    for number, deviation in laid_down.deviations.items():
        yield (
            f"smallest effect of interest: {smallest[number]} {number}. Paired differences of "
            f"seeds vary by {deviation:.3g} in the pilot ({laid_down.pilot_steps:,} steps); "
            f"assumed: {laid_down.assumed[number]:.3g}"
        )
    *early, last = laid_down.looks
    runs = last * len(laid_down.variants)
    claims = _claims(plan.study, laid_down.variants)
    compared = sum(not claim.is_within_runs for claim in claims)
    yield (
        f"{last} seeds of {len(laid_down.variants)} variants decide "
        f"{counted(compared, 'claim', 'claims')} about variants with {POWER:.0%} power, "
        f"corrected for {laid_down.claims} claims in all"
        + (f"; verdicts also after {' and '.join(map(str, early))} seeds" if early else "")
    )
    about, costs = "", pilot_costs(results)
    if costs.keys() >= set(laid_down.variants):  # the pilot's results can be deleted
        seconds = last * _seconds_of_a_seed(plan, costs)
        about = f", about {duration(seconds / mean_concurrency(runs, jobs))} with --jobs {jobs}"
    yield (
        f"{runs} runs of {plan.config.steps:,} steps: {laid_down.core_hours:.3g} core-hours{about}"
    )
