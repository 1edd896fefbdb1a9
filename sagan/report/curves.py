"""A run's numbers as curves: an SVG for each kind of number."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from sagan.errors import printable
from sagan.figures import add_legend, line_colors, style_axes, svg_of
from sagan.run.stats import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve: TypeAlias = list[tuple[float, float]]  # (step, value), in order

MAX_CURVE_POINTS = 400  # of a curve: more cannot be distinguished on a page
MAX_VALUE = 1e30  # larger numbers are left out: axes soon overflow


@dataclass(frozen=True)
class Panel:
    """Numbers that share an axis: those with this prefix and suffix that no earlier panel has."""

    title: str
    prefix: str
    suffix: str = ""


NETWORKS = {"d": "discriminator", "g": "generator"}  # as the losses are named in stats.jsonl

PANELS = (
    Panel("Losses", "loss/"),
    Panel("Discriminator's mean logits", "logits/"),
    Panel("Gradient norm of each network", "gradient/"),
    Panel("Kernel distance to the training images (lower is better)", "metric/KD-"),
    Panel("Seconds spent on evaluation", "metric/seconds"),
    Panel("Precision, recall, density, coverage (higher is better)", "metric/"),
    Panel("Gamma: how much attention contributes", "gamma/"),
    Panel("Sigma, generator: largest singular value of each layer", "sigma/generator/"),
    Panel("Sigma, discriminator: largest singular value of each layer", "sigma/discriminator/"),
    Panel("Attention distance (pixels)", "attention/", "/distance"),
    Panel("Attention entropy (nats)", "attention/", "/entropy"),
    Panel(
        "Smallest share of the keys that gets half of the attention", "attention/", "/concentration"
    ),
    Panel("Augmentation probability", "augment/p"),
    Panel("Updates dropped because of infinite or NaN values", "dropped"),
    Panel("Loss scale of float16", "loss_scale/"),
    Panel("Images per second", "images_per_second"),
)


def drawn_panels(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Yield the title and the SVG element of each panel that has numbers.

    Args:
        records: as in stats.jsonl; numbers that cannot be drawn are left out.
    """
    curves = _curves(records)
    for panel in PANELS:
        names = [n for n in curves if n.startswith(panel.prefix) and n.endswith(panel.suffix)]
        taken = {name: curves.pop(name) for name in names}
        labels = {_label(name, panel): curve for name, curve in taken.items()}
        if labels:
            yield panel.title, svg_of(panel.title, functools.partial(_draw, curves=labels))


def _label(name: str, panel: Panel) -> str:
    short = name.removeprefix(panel.prefix).removesuffix(panel.suffix)
    return NETWORKS.get(short, short)


def _curves(records: Sequence[Record]) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for record in records:
        for name, value in record.items():
            if abs(value) < MAX_VALUE:  # false for infinity and NaN
                curves.setdefault(printable(name), []).append((record["step"], value))
    return {name: _thinned(curve) for name, curve in curves.items()}


def _thinned(curve: Curve) -> Curve:
    stride = math.ceil(len(curve) / MAX_CURVE_POINTS)
    return curve[::-stride][::-1]  # counted from the end, to keep the last point


def _draw(axes: "Axes", curves: dict[str, Curve]) -> None:
    from matplotlib.ticker import MaxNLocator

    for (name, curve), color in zip(curves.items(), line_colors(len(curves)), strict=True):
        steps, values = zip(*curve, strict=True)
        marker = "." if len(curve) < 3 else ""
        axes.plot(steps, values, color=color, linewidth=1.2, marker=marker, label=f"{name} ")
    style_axes(axes, "step")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.ticklabel_format(useOffset=False)
    if any(curves):
        add_legend(axes, len(curves))
