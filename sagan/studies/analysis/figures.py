"""The figures of a study's report, each an SVG element."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from sagan.figures import add_legend, line_colors, style_axes, svg_of
from sagan.studies.analysis.intervals import CONFIDENCE
from sagan.studies.analysis.table import Band, Finding, Table
from sagan.studies.study import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.32  # inches of a line of a figure with a line for each variant
SHOWN = 2.5  # times the largest difference of a seed: how far an interval is drawn


def drawn_figures(table: Table) -> Iterator[tuple[str, str]]:
    """Title and SVG of each figure for which there are numbers."""
    number = table.study.claims[0].number
    title = f"{number} of every run, and the mean of each variant"
    yield (
        title,
        svg_of(
            title, partial(_draw_runs, table=table, number=number), 0.7 + ROW * len(table.variants)
        ),
    )
    findings = [finding for finding in table.findings() if finding.claim.number == number]
    if findings:
        title = (
            f"Advantages in {number}: every seed's, their mean and its {CONFIDENCE:.0%} interval"
        )
        draw = partial(_draw_findings, findings=findings)
        yield title, svg_of(title, draw, 0.7 + ROW * len(findings))
    for chart in table.study.charts:
        bands = {variant.name: table.band(variant.name, chart) for variant in table.variants}
        if any(bands.values()):
            yield chart.title, svg_of(chart.title, partial(_draw_chart, chart=chart, bands=bands))


def _draw_runs(axes: "Axes", table: Table, number: str) -> None:
    names = [variant.name for variant in table.variants]
    for row, (name, color) in enumerate(zip(names, line_colors(len(names)), strict=True)):
        spread = table.spread(name, number)
        if spread is not None:
            values = list(spread.values.values())
            axes.plot(values, [row] * len(values), "o", color=color, alpha=0.5, markersize=5)
            axes.plot([spread.mean], [row], "|", color=color, markersize=18, markeredgewidth=2)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    style_axes(axes, number)


def _draw_findings(axes: "Axes", findings: list[Finding]) -> None:
    for row, finding in enumerate(findings):
        advantage = finding.advantage
        axes.plot([advantage.low, advantage.high], [row, row], color="#1f77b4", linewidth=2)
        seeds = [row] * len(advantage.values)
        axes.plot(advantage.values, seeds, "o", color="#555", alpha=0.6, markersize=4)
        axes.plot([advantage.mean], [row], "|", color="#1f77b4", markersize=16, markeredgewidth=2)
    axes.axvline(0, color="#888", linewidth=0.8)
    # With few seeds an interval may be so long that nothing else could be seen beside it.
    reach = SHOWN * max(abs(value) for f in findings for value in f.advantage.values) or 1
    axes.set_xlim(-reach, reach)
    names = [f"{finding.claim.variant} over {finding.claim.against}" for finding in findings]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    style_axes(axes, f"advantage in {findings[0].claim.number}")


def _draw_chart(axes: "Axes", chart: Chart, bands: dict[str, Band | None]) -> None:
    for (name, band), color in zip(bands.items(), line_colors(len(bands)), strict=True):
        if band is not None:
            marker = "." if len(band.x) < 12 else ""
            axes.plot(band.x, band.mean, color=color, linewidth=1.2, marker=marker, label=name)
            axes.fill_between(band.x, band.low, band.high, color=color, alpha=0.15, linewidth=0)
    if chart.log:
        axes.set_yscale("log", nonpositive="mask")
    if chart.log_x:
        axes.set_xscale("log")
    style_axes(axes, chart.x)
    add_legend(axes, len(bands), size=8)
