"""A blank figure addressed in pixels, and text that fits its place.

matplotlib is imported only when a canvas is created, and only its object-oriented part: no pyplot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ft2font import FT2Font

DPI = 240
BLACK, GRAY = "#1a1a1a", "#555555"
SMALL, NORMAL, LARGE = 6.0, 6.5, 8.0  # points
FONT = "DejaVu Sans"  # comes with matplotlib, so text is the same on every machine
LINE = 26  # pixels from one line of text to the next


class Canvas:
    """A white figure with places in pixels at `DPI` from its top left corner."""

    def __init__(self, width: int, height: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return axes without ticks, frame or margin."""
        w, h = self.width, self.height
        axes = self.figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))
        axes.set_axis_off()
        return axes

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write a line of text, taken literally, with its top left corner at a point."""
        x, y = left / self.width, 1 - top / self.height
        style = {"size": NORMAL, "color": GRAY, "va": "top", "family": [FONT, "sans-serif"]} | style
        self.figure.text(x, y, text, None, parse_math=False, **style)

    def lines(self, left: float, top: float, lines: Sequence[str], **style: Any) -> None:
        """Write lines of text below each other."""
        for i, line in enumerate(lines):
            self.text(left, top + i * LINE, line, **style)


def text_width(text: str, size: float = NORMAL) -> float:
    """Return the width of a line of text in pixels at `DPI`."""
    font = _font()
    font.set_size(size, DPI)
    font.set_text(text)
    return float(font.get_width_height()[0]) / 64  # FreeType counts in 64ths


def fitted(text: str, width: float, size: float = NORMAL, most: int = 60) -> str:
    """Return a user's text ready to print: one line, known characters, cut to a width in pixels.

    No more than `most` characters are looked at.
    """
    shown = "".join(c if _is_printable(c) else "\N{REPLACEMENT CHARACTER}" for c in text[:most])
    if text_width(shown, size) <= width:
        return shown
    while shown and text_width(shown + "…", size) > width:
        shown = shown[:-1]
    return shown.rstrip() + "…"


def wrapped(text: str, width: float, size: float = NORMAL) -> list[str]:
    """Return text as lines no wider than a width in pixels, broken between words."""
    space = text_width("n n", size) - text_width("nn", size)
    lines: list[list[str]] = []
    room = 0.0
    for word in text.split():
        needed = space + text_width(word, size)
        if not lines or needed > room:
            lines.append([])
            room = width + space
        lines[-1].append(word)
        room -= needed
    return [" ".join(line) for line in lines]


def _is_printable(character: str) -> bool:
    return character.isprintable() and _font().get_char_index(ord(character)) != 0


def _font() -> FT2Font:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties(family=FONT)))
