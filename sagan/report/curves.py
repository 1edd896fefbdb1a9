"""A run's numbers as curves: one SVG for each kind of number."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from sagan.errors import printable
from sagan.figures import colors, legend, plain, svg_of
from sagan.run.stats import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve: TypeAlias = list[tuple[float, float]]  # (step, value), in order

MOST_POINTS = 400  # of a curve: more cannot be told apart on a page
LARGEST = 1e30  # number that is drawn: axes overflow not much later


@dataclass(frozen=True)
class Panel:
    """Numbers that share an axis: those with a prefix and a suffix that no earlier panel takes."""

    title: str
    prefix: str
    suffix: str = ""


PANELS = (
    Panel("Losses", "loss/"),
    Panel("Mean logits of the discriminator", "logits/"),
    Panel("Norm of each network's gradients", "gradient/"),
    Panel("Kernel distance to the training pictures, lower is better", "metric/KD-"),
    Panel("Seconds spent on evaluations", "metric/seconds"),
    Panel("Precision, recall, density, coverage, higher is better", "metric/"),
    Panel("gamma: how much of the attention is added", "gamma/"),
    Panel("sigma of the generator's layers", "sigma/generator/"),
    Panel("sigma of the discriminator's layers", "sigma/discriminator/"),
    Panel("How far attention looks, pixels", "attention/", "/distance"),
    Panel("Entropy of the attention, nats", "attention/", "/entropy"),
    Panel("Share of the keys that holds half of the attention", "attention/", "/concentration"),
    Panel("Probability of augmentation", "augment/p"),
    Panel("Updates dropped, as their numbers were not finite", "dropped"),
    Panel("Images per second", "images_per_second"),
)


def drawn_panels(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Title and SVG element of each panel for which there are numbers.

    Args:
        records: as in stats.jsonl; what cannot be drawn of them is left out.
    """
    curves = _curves(records)
    for panel in PANELS:
        names = [n for n in curves if n.startswith(panel.prefix) and n.endswith(panel.suffix)]
        taken = {name: curves.pop(name) for name in names}
        labels = {
            name.removeprefix(panel.prefix).removesuffix(panel.suffix): curve
            for name, curve in taken.items()
        }
        if labels:
            yield panel.title, svg_of(panel.title, functools.partial(_draw, curves=labels))


def _curves(records: Sequence[Record]) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for record in records:
        for name, value in record.items():
            if abs(value) < LARGEST:  # and so no infinity, nor NaN
                curves.setdefault(printable(name), []).append((record["step"], value))
    return {name: _thinned(curve) for name, curve in curves.items()}


def _thinned(curve: Curve) -> Curve:
    stride = math.ceil(len(curve) / MOST_POINTS)
    return curve[::-stride][::-1]  # the last point stays


def _draw(axes: "Axes", curves: dict[str, Curve]) -> None:
    for (name, curve), color in zip(curves.items(), colors(len(curves)), strict=True):
        steps, values = zip(*curve, strict=True)
        marker = "." if len(curve) < 3 else ""
        axes.plot(steps, values, color=color, linewidth=1.2, marker=marker, label=f"{name} ")
    plain(axes, "step")
    if any(curves):
        legend(axes, len(curves))
