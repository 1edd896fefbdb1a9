"""What all figures have in common: matplotlib's state, files, and the look of curves.

matplotlib is imported only when something is drawn, and only its object-oriented part: no pyplot.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagan.errors import SaganError
from sagan.storage.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
MOST_LINES = 10  # that are told apart by hue; more are shaded from the first layer to the last
LEGEND_ROWS = 14


@contextmanager
def figure_style(salt: str = "sagan") -> Iterator[None]:
    """matplotlib's own defaults and ours within the context, whatever the user's settings are.

    Args:
        salt: makes the names of an SVG's parts its own, and the same each time.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
        matplotlib.rcParams["svg.hashsalt"] = salt
        matplotlib.rcParams["pdf.fonttype"] = 42  # TrueType, which publishers ask for
        yield


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the path's extension.

    Text stays text in SVG and PDF. The same figure gives the same bytes. Folders on the way are
    made; what was there stays until the whole picture is drawn.

    Raises:
        SaganError: the extension is another, or the file cannot be written.
    """
    path = Path(path)
    check_format(path)
    extension = path.suffix.lower()
    unwanted = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}[extension]
    drawn = io.BytesIO()
    with figure_style():
        figure.savefig(drawn, format=extension[1:], dpi=figure.dpi, metadata={unwanted: None})
    write_bytes(path, drawn.getvalue())


def check_format(path: Path) -> None:
    """Insist that a figure can be written under this name.

    Raises:
        SaganError: the extension is none of FORMATS.
    """
    if path.suffix.lower() not in FORMATS:
        raise SaganError(
            f"cannot tell the figure's format from {path}: end it in .png, .svg or .pdf"
        )


def svg_of(title: str, draw: Callable[[Axes], None], height: float = 2.8) -> str:
    """An SVG element, the same each time.

    Args:
        title: tells it from others on its page.
        draw: draws it.
        height: in inches; the width is 6.4.
    """
    from matplotlib.figure import Figure

    with figure_style(salt=title):
        figure = Figure(figsize=(6.4, height), layout="constrained")
        draw(figure.subplots())
        drawn = io.StringIO()
        figure.savefig(
            drawn, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    document = drawn.getvalue()
    return document[document.index("<svg") :]


def plain(axes: Axes, x: str) -> None:
    """Give axes the look that all figures on these pages have."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(x, fontsize=8)


def legend(axes: Axes, num: int, size: int = 6) -> None:
    """Name `num` lines beside them, in letters of so many points."""
    columns = math.ceil(num / LEGEND_ROWS)
    drawn = axes.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), fontsize=size, frameon=False, ncols=columns
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)


def colors(num: int) -> Sequence[Any]:
    """So many that can be told apart."""
    import matplotlib

    if num <= MOST_LINES:
        return matplotlib.color_sequences["tab10"][:num]
    shades = matplotlib.colormaps["viridis"]
    return [shades(0.95 * i / (num - 1)) for i in range(num)]
