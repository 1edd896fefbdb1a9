"""Results of a study, by variant: means over seeds, outcomes of claims, curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from sagan.studies.analysis.decisions import VERDICTS, Verdict, evidence, settle
from sagan.studies.analysis.intervals import Difference, interval_over_images, paired_difference
from sagan.studies.analysis.power import seeds_to_decide
from sagan.studies.record import PlanRecord
from sagan.studies.results import Result
from sagan.studies.study import Chart, Claim, Study
from sagan.types import Float64Array


@dataclass(frozen=True)
class SeedStatistics:
    """A number over seeds.

    Attributes:
        values: by seed.
        mean: their mean.
        deviation: their sample standard deviation; nan with one seed.
    """

    values: dict[int, float]
    mean: float
    deviation: float


@dataclass(frozen=True)
class ClaimOutcome:
    """What became of a claim.

    Attributes:
        claim: the claim.
        advantage: of the variant claimed to be better; positive is in favor of the claim.
        verdict: what may be said of the claim.
        delta: the smallest effect of interest, in the unit of the number.
        p_differs: two-sided p-value of "nothing differs", uncorrected.
        p_small: p-value of "an effect of delta or more", uncorrected.
        over_images: ends of the interval over seeds and images; None if runs did not leave what it
            follows from.
        seeds_needed: number of seeds that would decide the claim if its effect is what these seeds
            say; None if it is decided or they do not tell.
        hours_needed: core-hours of the seeds that are missing from it; None as well.
    """

    claim: Claim
    advantage: Difference
    verdict: Verdict
    delta: float
    p_differs: float
    p_small: float
    over_images: tuple[float, float] | None
    seeds_needed: int | None
    hours_needed: float | None


@dataclass(frozen=True)
class _Pairs:
    """A claim's runs, paired by seed, in the order of seeds.

    Attributes:
        claim: the claim.
        advantages: (seeds,).
        margins: delta of each pair, (seeds,).
        blocks: advantages on blocks of images, (seeds, blocks); None if not all runs have them.
        hours: mean core-hours of a seed's runs: two, or one if both numbers are its own.
        last: number of seeds at the last look so far, or of all seeds before the first.
        p: as `evidence` returns them, (looks, 3); 1 at looks that are still to come.
    """

    claim: Claim
    advantages: Float64Array
    margins: Float64Array
    blocks: Float64Array | None
    hours: float
    last: int
    p: Float64Array


@dataclass(frozen=True)
class SeedBand:
    """A curve over seeds; all lists have the length of `x`.

    Attributes:
        x: ascending.
        mean: over the seeds that have this x.
        low: the smallest of them.
        high: the largest of them.
    """

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


class ResultTable:
    """All results of a study, ordered by variant and seed.

    Args:
        study: the study.
        results: at least one of its results.
        plan: what was laid down before the first result, if anything.
    """

    def __init__(
        self, study: Study, results: Sequence[Result], plan: PlanRecord | None = None
    ) -> None:
        self.study = study
        self.plan = plan
        self.smallest = study.effects(plan.deltas if plan is not None else {})
        present = {result.variant for result in results}
        self.variants = [variant for variant in study.variants if variant.name in present]
        order = {variant.name: place for place, variant in enumerate(self.variants)}
        known = [result for result in results if result.variant in order]
        self.results = sorted(known, key=lambda r: (order[r.variant], r.seed))

    def of(self, variant: str) -> list[Result]:
        """Return the results of a variant, in the order of their seeds."""
        return [result for result in self.results if result.variant == variant]

    def statistics(self, variant: str, number: str) -> SeedStatistics | None:
        """Return statistics of a variant's number; None if no run has it."""
        values = {r.seed: r.numbers[number] for r in self.of(variant) if number in r.numbers}
        if not values:
            return None
        array = np.array(list(values.values()))
        deviation = float(array.std(ddof=1)) if len(array) > 1 else math.nan
        return SeedStatistics(values, float(array.mean()), deviation)

    def outcomes(self) -> list[ClaimOutcome]:
        """Return the outcome of each claim for which both variants have runs with a shared seed.

        With a plan, verdicts are drawn at its looks only, from as many seeds. Without one, they are
        drawn once, from all seeds.
        """
        pairs = [found for claim in self.study.claims if (found := self._pairs(claim))]
        if not pairs:
            return []
        looks = self.plan.looks if self.plan is not None else [1]
        family = max(len(pairs), self.plan.claims if self.plan is not None else 1)
        verdicts = settle(np.stack([found.p for found in pairs], axis=1), looks, family)
        return [
            _outcome(found, VERDICTS[place], family)
            for found, place in zip(pairs, verdicts, strict=True)
        ]

    def _pairs(self, claim: Claim) -> _Pairs | None:
        """Pair a claim's runs by seed; None if there are none."""
        ours, theirs = (
            {r.seed: r for r in self.of(name) if number in r.numbers}
            for name, number in zip((claim.variant, claim.against), claim.numbers, strict=True)
        )
        shared = sorted(ours.keys() & theirs.keys())
        if not shared:
            return None
        sign = 1 if claim.better == "higher" else -1
        one, other = (
            np.array([runs[seed].numbers[number] for seed in shared])
            for runs, number in zip((ours, theirs), claim.numbers, strict=True)
        )
        advantages = sign * (one - other)
        margins = np.array([self.smallest[claim.number].margin(number) for number in other])
        blocks = [
            [runs[seed].blocks.get(number, []) for seed in shared]
            for runs, number in zip((ours, theirs), claim.numbers, strict=True)
        ]
        complete = {len(found) for runs in blocks for found in runs}
        costs = [(ours[s], theirs[s])[: 1 if claim.is_within_runs else 2] for s in shared]
        looks = self.plan.looks if self.plan is not None else [len(shared)]
        # Without a plan seeds need not begin with 0.
        reached = (
            [look for look in looks if look <= _unbroken(shared)]
            if self.plan is not None
            else looks
        )
        p = np.ones((len(looks), 3))
        for place, look in enumerate(reached):
            p[place] = evidence(advantages[:look], margins[:look])
        return _Pairs(
            claim=claim,
            advantages=advantages,
            margins=margins,
            blocks=sign * (np.array(blocks[0]) - np.array(blocks[1]))
            if len(complete) == 1 and complete != {0}
            else None,
            hours=float(np.mean([sum(run.core_hours for run in runs) for runs in costs])),
            last=max(reached, default=len(shared)),
            p=p,
        )

    def complete_seeds(self) -> int:
        """Return the number of seeds, from 0 on, with a run of each variant that is planned."""
        present = [variant.name for variant in self.variants]
        names = self.plan.variants if self.plan is not None else present
        seeds = [{result.seed for result in self.of(name)} for name in names]
        return _unbroken(sorted(set.intersection(*seeds)))

    def band(self, variant: str, chart: Chart) -> SeedBand | None:
        """Return a chart's curve of a variant over its seeds; None if no run has it.

        Each point is over the seeds that have it: a training that diverged lacks values from
        there on, and must not hide those of other seeds.
        """
        curves = [_joined(result, chart) for result in self.of(variant)]
        x = sorted(set().union(*curves))
        if not x:
            return None
        values = [[curve[at] for curve in curves if at in curve] for at in x]
        return SeedBand(
            x, [float(np.mean(v)) for v in values], [min(v) for v in values],
            [max(v) for v in values],
        )  # fmt: skip

    def layers(self, variant: str) -> dict[str, float]:
        """Return the last value of each curve under the study's `by_layer`, averaged over seeds."""
        ends: dict[str, list[float]] = {}
        for result in self.of(variant):
            for name, curve in result.curves.items():
                if name.startswith(self.study.by_layer) and curve:
                    ends.setdefault(name.removeprefix(self.study.by_layer), []).append(curve[-1][1])
        return {name: float(np.mean(values)) for name, values in ends.items()}


def _unbroken(seeds: Sequence[int]) -> int:
    """Return how many of these ascending seeds come before the first that is missing."""
    return next((i for i, seed in enumerate(seeds) if i != seed), len(seeds))


def all_decided(outcomes: Sequence[ClaimOutcome], plan: PlanRecord) -> bool:
    """Return whether every planned claim has a verdict, so that no further seed is needed."""
    decided = [outcome for outcome in outcomes if outcome.verdict != "undecided"]
    return len(decided) >= plan.claims


def _outcome(pairs: _Pairs, verdict: Verdict, family: int) -> ClaimOutcome:
    used = slice(pairs.last)
    advantage = paired_difference(pairs.advantages[used])
    better, worse, small = evidence(pairs.advantages[used], pairs.margins[used])
    delta = float(pairs.margins[used].mean())
    over_images = None
    if pairs.blocks is not None and pairs.last > 1 and pairs.blocks.shape[1] > 1:
        over_images = interval_over_images(pairs.blocks[used], advantage.mean)
    needed = hours = None
    deviation = float(np.std(advantage.values, ddof=1)) if pairs.last > 1 else 0.0
    if verdict == "undecided" and deviation > 0 and delta > 0:
        needed = seeds_to_decide(advantage.mean / deviation, delta / deviation, family)
    if needed is not None:
        hours = max(0, needed - len(pairs.advantages)) * pairs.hours
    return ClaimOutcome(
        pairs.claim, advantage, verdict, delta, min(1.0, 2 * min(better, worse)), float(small),
        over_images, needed, hours,
    )  # fmt: skip


def _joined(result: Result, chart: Chart) -> dict[float, float]:
    """Return y by x: the mean or the largest of the curves that match a chart's pattern."""
    found: dict[float, list[float]] = {}
    for name, curve in result.curves.items():
        if fnmatchcase(name, chart.curves):
            for x, y in curve:
                found.setdefault(x, []).append(y)
    join = max if chart.largest else np.mean
    return {x: float(join(values)) for x, values in found.items()}
