"""Plots of measured cost against batch size, resolution and N.

python -m benchmarks.plots results --out docs/images
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from benchmarks.curves import CurvePoint
from benchmarks.memory import IMPLEMENTATIONS


def main() -> None:
    """Draw the parts that have results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path, help="results folder of python -m benchmarks")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, draw in (("curves", draw_curves), ("memory", draw_memory)):
        file = arguments.results / f"{name}.json"
        if file.is_file():
            figure = draw(json.loads(file.read_text())["results"])
            figure.savefig(arguments.out / f"cost-{name}.png", dpi=120)
            print(arguments.out / f"cost-{name}.png")


def draw_curves(results: list[dict[str, Any]]) -> Figure:
    """Draw milliseconds per image against batch size and resolution."""
    points = [CurvePoint(**result) for result in results]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, curve in zip(axes, ("batch", "resolution"), strict=True):
        chosen = [point for point in points if point.curve == curve]
        for name in ("naive", "ours"):
            costs = [point.milliseconds_per_image(name) for point in chosen]
            axis.plot([point.x for point in chosen], costs, marker="o", label=name)
        _logarithmic(axis, curve, "a training step, ms per image", [p.x for p in chosen])
    axes[0].legend()
    return figure


def draw_memory(results: list[dict[str, Any]]) -> Figure:
    """Draw time and peak memory of one layer against N, one row per form."""
    forms = list(dict.fromkeys(result["form"] for result in results))
    figure, grid = plt.subplots(
        len(forms), 2, figsize=(9, 3 * len(forms)), layout="constrained", squeeze=False
    )
    for form, row in zip(forms, grid, strict=True):
        for axis, key, scale, label in (
            (row[0], "seconds", 1.0, "s"),
            (row[1], "peak_bytes", 1e-6, "MB above the inputs"),
        ):
            for name in IMPLEMENTATIONS:
                chosen = [r for r in results if (r["form"], r["implementation"]) == (form, name)]
                costs = [max(scale * r[key], 1e-4) for r in chosen]
                axis.plot([r["positions"] for r in chosen], costs, marker="o", label=name)
            sizes = sorted({r["positions"] for r in results})
            _logarithmic(axis, f"N, form {form}", label, sizes)
    grid[0][0].legend()
    return figure


def _logarithmic(axis: Axes, x: str, y: str, ticks: list[int]) -> None:
    axis.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.grid(alpha=0.3)


if __name__ == "__main__":
    main()
