"""Results of a study, by variant: means over seeds, outcomes of claims, curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from sagan.studies.analysis.intervals import Difference, Verdict, paired_difference, verdict
from sagan.studies.results import Result
from sagan.studies.study import Chart, Claim, Study


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
    """

    claim: Claim
    advantage: Difference
    verdict: Verdict


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
    """

    def __init__(self, study: Study, results: Sequence[Result]) -> None:
        self.study = study
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
        """Return the outcome of each claim for which both variants have runs with a shared seed."""
        found = []
        for claim in self.study.claims:
            advantages = self._advantages(claim)
            if advantages:
                difference = paired_difference(advantages)
                found.append(ClaimOutcome(claim, difference, verdict(difference)))
        return found

    def _advantages(self, claim: Claim) -> list[float]:
        one = self.statistics(claim.variant, claim.number)
        other = self.statistics(claim.against, claim.number)
        if not (one and other):
            return []
        sign = 1 if claim.better == "higher" else -1
        shared = sorted(one.values.keys() & other.values.keys())
        return [sign * (one.values[seed] - other.values[seed]) for seed in shared]

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


def _joined(result: Result, chart: Chart) -> dict[float, float]:
    """Return y by x: the mean or the largest of the curves that match a chart's pattern."""
    found: dict[float, list[float]] = {}
    for name, curve in result.curves.items():
        if fnmatchcase(name, chart.curves):
            for x, y in curve:
                found.setdefault(x, []).append(y)
    join = max if chart.largest else np.mean
    return {x: float(join(values)) for x, values in found.items()}
