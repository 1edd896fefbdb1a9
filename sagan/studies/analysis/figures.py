"""The figures of a study's report, each an SVG element."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from sagan.figures import add_legend, line_colors, style_axes, svg_of
from sagan.studies.analysis.intervals import CONFIDENCE
from sagan.studies.analysis.table import ClaimOutcome, ResultTable, SeedBand
from sagan.studies.study import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAME_INCHES = 0.7  # height of a figure without its rows
ROW_INCHES = 0.32  # height of a row, in figures with a row for each variant or claim
MAX_REACH = 2.5  # times the largest difference of a seed: how far an interval is drawn
MAX_MARKED_POINTS = 11  # of a curve; longer ones are drawn without markers


def drawn_figures(table: ResultTable) -> Iterator[tuple[str, str]]:
    """Yield title and SVG of each figure that the results have numbers for."""
    number = table.study.claims[0].number
    title = f"{number} of every run, and the mean of each variant"
    draw = partial(_draw_runs, table=table, number=number)
    yield title, svg_of(title, draw, FRAME_INCHES + ROW_INCHES * len(table.variants))
    found = [outcome for outcome in table.outcomes() if outcome.claim.number == number]
    # In figures of their own: what a cut does can be many times what variants differ by.
    for within, over in ((False, ""), (True, " over the same runs with a cut")):
        if outcomes := [one for one in found if one.claim.is_within_runs == within]:
            title = (
                f"Advantage in {number}{over}: of every seed, and the mean with its "
                f"{CONFIDENCE:.0%} interval"
            )
            draw = partial(_draw_outcomes, outcomes=outcomes)
            yield title, svg_of(title, draw, FRAME_INCHES + ROW_INCHES * len(outcomes))
    for chart in table.study.charts:
        bands = {variant.name: table.band(variant.name, chart) for variant in table.variants}
        if any(bands.values()):
            yield chart.title, svg_of(chart.title, partial(_draw_chart, chart=chart, bands=bands))


def _draw_runs(axes: "Axes", table: ResultTable, number: str) -> None:
    names = [variant.name for variant in table.variants]
    for row, (name, color) in enumerate(zip(names, line_colors(len(names)), strict=True)):
        statistics = table.statistics(name, number)
        if statistics is not None:
            values = list(statistics.values.values())
            axes.plot(values, [row] * len(values), "o", color=color, alpha=0.5, markersize=5)
            axes.plot([statistics.mean], [row], "|", color=color, markersize=18, markeredgewidth=2)
    _name_rows(axes, names)
    style_axes(axes, number)


def _draw_outcomes(axes: "Axes", outcomes: list[ClaimOutcome]) -> None:
    for row, outcome in enumerate(outcomes):
        advantage = outcome.advantage
        axes.plot([advantage.low, advantage.high], [row, row], color="#1f77b4", linewidth=2)
        seeds = [row] * len(advantage.values)
        axes.plot(advantage.values, seeds, "o", color="#555", alpha=0.6, markersize=4)
        axes.plot([advantage.mean], [row], "|", color="#1f77b4", markersize=16, markeredgewidth=2)
    axes.axvline(0, color="#888", linewidth=0.8)
    # With few seeds an interval may be so long that nothing else would be visible beside it.
    reach = MAX_REACH * max(abs(value) for o in outcomes for value in o.advantage.values) or 1
    axes.set_xlim(-reach, reach)
    _name_rows(axes, [o.claim.comparison for o in outcomes])
    style_axes(axes, f"advantage in {outcomes[0].claim.number}")


def _name_rows(axes: "Axes", names: list[str]) -> None:
    """Label the rows of a figure, the first one on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _draw_chart(axes: "Axes", chart: Chart, bands: dict[str, SeedBand | None]) -> None:
    for (name, band), color in zip(bands.items(), line_colors(len(bands)), strict=True):
        if band is not None:
            marker = "." if len(band.x) <= MAX_MARKED_POINTS else ""
            axes.plot(band.x, band.mean, color=color, linewidth=1.2, marker=marker, label=name)
            axes.fill_between(band.x, band.low, band.high, color=color, alpha=0.15, linewidth=0)
    if chart.log:
        axes.set_yscale("log", nonpositive="mask")
    if chart.log_x:
        axes.set_xscale("log")
    style_axes(axes, chart.x)
    add_legend(axes, len(bands), size=8)
