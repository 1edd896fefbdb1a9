"""Shared by all figures: matplotlib's state, file formats, and the look of curves.

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
from sagan.images.credits import PNG_KEYWORD
from sagan.storage.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_FORMATS = (".png", ".svg", ".pdf")
# The field of each format's metadata that has credits; PDF's own fields have none for rights.
_CREDITS = {".png": PNG_KEYWORD, ".svg": "Rights", ".pdf": "Subject"}
MAX_HUES = 10  # for this many lines; more are shaded from the first to the last
LEGEND_ROWS = 14


@contextmanager
def figure_style(salt: str = "sagan") -> Iterator[None]:
    """Use matplotlib's defaults and ours within the context, whatever the user's settings.

    Args:
        salt: makes the ids in an SVG unique to it, and the same each time.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
        matplotlib.rcParams["svg.hashsalt"] = salt
        matplotlib.rcParams["pdf.fonttype"] = 42  # TrueType, which publishers ask for
        yield


def save_figure(figure: Figure, path: str | Path, credits: str = "") -> None:
    """Write a figure as PNG, SVG or PDF, according to the path's extension.

    Text stays text in SVG and PDF. The same figure gives the same bytes. Missing folders are
    created; an existing file is replaced once the whole figure is drawn.

    Args:
        figure: the figure.
        path: FILE.png, FILE.svg or FILE.pdf.
        credits: who made the images in it; saved in the file's metadata.

    Raises:
        SaganError: the extension is a different one, or the file cannot be written.
    """
    path = Path(path)
    check_format(path)
    extension = path.suffix.lower()
    unwanted = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}[extension]
    metadata = {unwanted: None} | ({_CREDITS[extension]: credits} if credits else {})
    drawn = io.BytesIO()
    with figure_style():
        figure.savefig(drawn, format=extension[1:], dpi=figure.dpi, metadata=metadata)
    write_bytes(path, drawn.getvalue())


def check_format(path: Path) -> None:
    """Check that the extension names a format for figures.

    Raises:
        SaganError: the extension is not one of FORMATS.
    """
    if path.suffix.lower() not in FIGURE_FORMATS:
        raise SaganError(
            f"cannot tell the figure's format from '{path}': end it in .png, .svg or .pdf"
        )


def svg_of(title: str, draw: Callable[[Axes], None], height: float = 2.8) -> str:
    """Return a figure as an SVG element; the same figure gives the same text.

    Args:
        title: keeps its ids apart from those of other figures on the page.
        draw: draws it into axes.
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


def style_axes(axes: Axes, x: str) -> None:
    """Give axes the look that reports' figures share.

    Args:
        axes: the axes to style.
        x: the label of the x axis.
    """
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(x, fontsize=8)


def add_legend(axes: Axes, num: int, size: int = 6) -> None:
    """Add a legend of `num` lines beside the axes, in letters of `size` points."""
    columns = math.ceil(num / LEGEND_ROWS)
    drawn = axes.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), fontsize=size, frameon=False, ncols=columns
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)


def line_colors(num: int) -> Sequence[Any]:
    """Return `num` distinct colors."""
    import matplotlib

    if num <= MAX_HUES:
        return matplotlib.color_sequences["tab10"][:num]
    shades = matplotlib.colormaps["viridis"]
    return [shades(0.95 * i / (num - 1)) for i in range(num)]
