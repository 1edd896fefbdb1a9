"""A run's numbers as curves: one SVG for each kind of number."""

import functools
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sagan.records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve: TypeAlias = list[tuple[float, float]]  # (step, value), in order

MOST_POINTS = 400  # of a curve: more cannot be told apart on a page
MOST_LINES = 10  # that are told apart by hue; more are shaded from the first layer to the last
LEGEND_ROWS = 14


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
    Panel("Images per second", "images_per_second"),
)


def drawn_panels(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Title and SVG element of each panel for which there are numbers.

    Args:
        records: as in stats.jsonl; what is no finite number in them is left out.
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
            if isinstance(value, int | float) and math.isfinite(value):
                curves.setdefault(name, []).append((record["step"], value))
    return {name: _thinned(curve) for name, curve in curves.items()}


def _thinned(curve: Curve) -> Curve:
    stride = math.ceil(len(curve) / MOST_POINTS)
    return curve[::-stride][::-1]  # the last point stays


def svg_of(title: str, draw: Callable[["Axes"], None], height: float = 2.8) -> str:
    """An SVG element, the same each time.

    Args:
        title: tells it from others on its page.
        draw: draws it.
        height: in inches; the width is 6.4.
    """
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text; the salt makes the names of a panel's parts its own, and the same each time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure = Figure(figsize=(6.4, height), layout="constrained")
        draw(figure.subplots())
        drawn = io.StringIO()
        figure.savefig(
            drawn, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return drawn.getvalue().partition("<svg")[1] + drawn.getvalue().partition("<svg")[2]


def plain(axes: "Axes", x: str) -> None:
    """Give axes the look that all figures on these pages have."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(x, fontsize=8)


def _draw(axes: "Axes", curves: dict[str, Curve]) -> None:
    for (name, curve), colour in zip(curves.items(), colours(len(curves)), strict=True):
        steps, values = zip(*curve, strict=True)
        marker = "." if len(curve) < 3 else ""
        axes.plot(steps, values, color=colour, linewidth=1.2, marker=marker, label=f"{name} ")
    plain(axes, "step")
    if any(curves):
        legend(axes, len(curves))


def legend(axes: "Axes", num: int, size: int = 6) -> None:
    """Name ``num`` lines beside them, in letters of so many points."""
    columns = math.ceil(num / LEGEND_ROWS)
    drawn = axes.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), fontsize=size, frameon=False, ncols=columns
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)


def colours(num: int) -> Sequence[Any]:
    """So many that can be told apart."""
    import matplotlib

    if num <= MOST_LINES:
        return matplotlib.color_sequences["tab10"][:num]
    shades = matplotlib.colormaps["viridis"]
    return [shades(0.95 * i / (num - 1)) for i in range(num)]
