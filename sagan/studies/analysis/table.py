"""Results of a study, by variant: means over seeds, differences, curves."""

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from sagan.studies.analysis.intervals import Difference, Verdict, paired_difference, verdict
from sagan.studies.results import Result
from sagan.studies.study import Chart, Claim, Study


@dataclass(frozen=True)
class Spread:
    """A number over seeds.

    Attributes:
        values: by seed.
        mean: of them.
        deviation: their sample standard deviation, nan with one.
    """

    values: dict[int, float]
    mean: float
    deviation: float


@dataclass(frozen=True)
class Finding:
    """What became of a claim.

    Attributes:
        claim: as it was made.
        advantage: of the variant claimed to be better, by the number it is made about.
        verdict: what may be said of it.
    """

    claim: Claim
    advantage: Difference
    verdict: Verdict


@dataclass(frozen=True)
class Band:
    """A curve over seeds: (x,) each."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


class Table:
    """All results of a study.

    Args:
        study: what they are of.
        results: at least one, of this study.
    """

    def __init__(self, study: Study, results: list[Result]) -> None:
        self.study = study
        self.variants = [
            variant
            for variant in study.variants
            if any(result.variant == variant.name for result in results)
        ]
        order = [variant.name for variant in self.variants]
        known = [result for result in results if result.variant in order]
        self.results = sorted(known, key=lambda r: (order.index(r.variant), r.seed))

    def of(self, variant: str) -> list[Result]:
        """Results of a variant, in the order of their seeds."""
        return [result for result in self.results if result.variant == variant]

    def spread(self, variant: str, number: str) -> Spread | None:
        """A number of a variant; None where no run has it."""
        values = {r.seed: r.numbers[number] for r in self.of(variant) if number in r.numbers}
        if not values:
            return None
        array = np.array(list(values.values()))
        deviation = float(array.std(ddof=1)) if len(array) > 1 else math.nan
        return Spread(values, float(array.mean()), deviation)

    def findings(self) -> list[Finding]:
        """What becomes of each claim both of whose variants have runs of the same seed."""
        found = []
        for claim in self.study.claims:
            advantages = self._advantages(claim)
            if advantages:
                difference = paired_difference(advantages)
                found.append(Finding(claim, difference, verdict(difference)))
        return found

    def _advantages(self, claim: Claim) -> list[float]:
        one, other = (
            self.spread(claim.variant, claim.number),
            self.spread(claim.against, claim.number),
        )
        if one is None or other is None:
            return []
        sign = 1 if claim.better == "higher" else -1
        shared = sorted(one.values.keys() & other.values.keys())
        return [sign * (one.values[seed] - other.values[seed]) for seed in shared]

    def band(self, variant: str, chart: Chart) -> Band | None:
        """A chart's curve of a variant, each point of the seeds that have it; None without any.

        A training whose numbers went wrong has none from there on, and hides no other's.
        """
        curves = [_joined(result, chart) for result in self.of(variant)]
        x = sorted(set().union(*curves))
        if not x:
            return None
        values = [[curve[at] for curve in curves if at in curve] for at in x]
        return Band(
            x, [float(np.mean(v)) for v in values], [min(v) for v in values],
            [max(v) for v in values],
        )  # fmt: skip

    def layers(self, variant: str) -> dict[str, float]:
        """The last value of each curve that the study tables by layer, the mean over seeds."""
        ends: dict[str, list[float]] = {}
        for result in self.of(variant):
            for name, curve in result.curves.items():
                if name.startswith(self.study.by_layer) and curve:
                    ends.setdefault(name.removeprefix(self.study.by_layer), []).append(curve[-1][1])
        return {name: float(np.mean(values)) for name, values in ends.items()}


def _joined(result: Result, chart: Chart) -> dict[float, float]:
    """y by x of the curves that a chart names, their mean or largest."""
    found: dict[float, list[float]] = {}
    for name, curve in result.curves.items():
        if fnmatchcase(name, chart.curves):
            for x, y in curve:
                found.setdefault(x, []).append(y)
    join = max if chart.largest else np.mean
    return {x: float(join(values)) for x, values in found.items()}
