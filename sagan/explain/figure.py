"""The attention figure: pictures, query dots, and the region that each dot draws on.

matplotlib is imported only when a figure is drawn, and only its object-oriented part: no pyplot,
no change to its global settings.
"""

# ruff: noqa: RUF001 -- captions mean the multiplication sign that they use

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sagan.errors import SaganError
from sagan.explain.overlay import (
    LEAST_PEAK,
    NEARLY_UNIFORM,
    UInt8Array,
    heat,
    outline,
    upsample_bilinear,
)
from sagan.explain.queries import query_to_pixel
from sagan.explain.statistics import Float64Array, FloatArray, attended_region, grid_sides

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Red first, as in the paper. They stay apart from each other and from the heat for readers with
# the common colour blindnesses, because they differ in lightness as well as in hue.
QUERY_COLOURS = ("#e8132b", "#1f8fff", "#ffd21f", "#00a070", "#f0a0e8", "#4b2a86")

FORMATS = (".png", ".svg", ".pdf")

_DPI = 160
_PANEL = 256  # pixels at _DPI: a whole multiple of 32, 64, 128 and 256, hence crisp
_HEAT_MAP = "inferno"  # perceptually uniform
_INK, _GREY = "#1a1a1a", "#666666"


@dataclass(frozen=True)
class _Layout:
    """Where things go, in pixels at _DPI from the figure's top left corner."""

    rows: int
    columns: int
    note_lines: int

    margin = 18
    gap = 12
    header = 68
    caption = 30
    scale = 32
    line = 20

    @property
    def width(self) -> int:
        return 2 * self.margin + self.columns * (_PANEL + self.gap) - self.gap

    @property
    def footer_top(self) -> int:
        return self.header + self.rows * (_PANEL + self.caption) + 10

    @property
    def height(self) -> int:
        return self.footer_top + self.scale + self.note_lines * self.line + self.margin

    def panel_corner(self, row: int, column: int) -> tuple[int, int]:
        left = self.margin + column * (_PANEL + self.gap)
        return left, self.header + row * (_PANEL + self.caption)


class _Sheet:
    """A matplotlib figure addressed in the layout's pixels."""

    def __init__(self, layout: _Layout) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.layout = layout
        size = layout.width / _DPI, layout.height / _DPI
        self.figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        w, h = self.layout.width, self.layout.height
        axes = self.figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))
        axes.set_axis_off()
        return axes

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Text whose top left corner is at a point; grey and small unless told otherwise."""
        x, y = left / self.layout.width, 1 - top / self.layout.height
        style = {"size": 7, "color": _GREY, "va": "top", "family": "DejaVu Sans"} | style
        self.figure.text(x, y, text, None, **style)


def attention_figure(
    images: UInt8Array,
    attention: FloatArray,
    queries: Sequence[Sequence[int]],
    layer: str,
    *,
    peak: float | None = None,
) -> Figure:
    """Draw what chosen pixels attend to.

    One row per image. First the picture with its query dots, then one panel per dot: the picture
    in dim grey, the attention as heat over it (``overlay.heat``: log scale from uniform attention,
    which is not highlighted, to the panel's peak; bilinear between the keys' centres), and, in
    the dot's colour, the outline of the fewest keys that hold half of the attention. No outline
    is drawn where half of the attention takes more than 40 % of the keys: the caption then says
    that it is nearly uniform. A dot sits at the centre of its query's cell.

    Args:
        images: uint8 ``(num, H, W, 3)``, H = W.
        attention: float ``(num, N, M)``; each row is at least 0 and sums to 1.
        queries: per image, the row indices n in [0, N) to draw, 1 to 6; numbers may differ.
        layer: the layer's name, for the heading, such as ``generator.attention_16``.
        peak: the multiple of uniform attention drawn brightest, in all panels alike, so that
            panels compare. None: each panel's own maximum, at least 4.

    Returns:
        A figure that belongs to no window and no global state, for ``save_figure``.

    Raises:
        ValueError: shapes do not fit, a query is out of range, an image has none or more than 6,
            or peak is 1 or less.
    """
    _check(images, attention, queries, peak)
    columns = 1 + max(len(row) for row in queries)
    note = textwrap.wrap(_note(attention, peak), width=_line_length(columns))
    sheet = _Sheet(_Layout(rows=len(images), columns=columns, note_lines=len(note)))
    _draw_heading(sheet, attention, layer)
    for i, (image, image_attention, row) in enumerate(zip(images, attention, queries, strict=True)):
        _draw_picture(sheet, i, image, image_attention, row)
        for j, query in enumerate(row):
            _draw_attended(sheet, (i, j), image, image_attention, query, peak)
    _draw_footer(sheet, note, peak)
    return sheet.figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the path's extension.

    The file is written only once the whole picture is drawn.

    Raises:
        SaganError: the extension is another, or the file cannot be written.
    """
    path = Path(path)
    extension = path.suffix.lower()
    if extension not in FORMATS:
        raise SaganError(f"cannot tell the figure's format from {path}: end it in {_or(FORMATS)}")
    date = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}[extension]
    drawn = io.BytesIO()
    # Without a date (or matplotlib's version) the same figure gives the same PNG and PDF.
    figure.savefig(drawn, format=extension[1:], dpi=figure.dpi, metadata={date: None})
    try:
        path.write_bytes(drawn.getvalue())
    except OSError as error:
        reason = error.strerror or "the system refuses"
        raise SaganError(
            f"cannot write the figure to {path}: {reason}; name a file in a folder you can write to"
        ) from error


def _check(
    images: UInt8Array, attention: FloatArray, queries: Sequence[Sequence[int]], peak: float | None
) -> None:
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise ValueError(f"images must have shape (num, H, W, 3) with H = W, not {images.shape}")
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, not {images.dtype}")
    if attention.ndim != 3 or not len(images) == len(attention) == len(queries) > 0:
        raise ValueError(
            f"images {images.shape}, attention {attention.shape} and queries for {len(queries)} "
            "images: the same number of images is needed, at least one"
        )
    grid_sides(attention)
    if not all(1 <= len(row) <= len(QUERY_COLOURS) for row in queries):
        raise ValueError(f"each image needs 1 to {len(QUERY_COLOURS)} queries")
    if not all(0 <= query < attention.shape[1] for row in queries for query in row):
        raise ValueError(f"queries must be row indices in 0 .. {attention.shape[1] - 1}")
    if peak is not None and not peak > 1:
        raise ValueError(f"peak must be above 1, uniform attention, not {peak}")


def _draw_heading(sheet: _Sheet, attention: FloatArray, layer: str) -> None:
    query_side, key_side = grid_sides(attention)
    grids = f"{query_side} × {query_side} query pixels, {key_side} × {key_side} keys"
    left = sheet.layout.margin
    sheet.text(left, 14, layer, size=8.5, color=_INK, weight="bold")
    sheet.text(left, 39, grids)


def _draw_picture(
    sheet: _Sheet, row: int, image: UInt8Array, attention: FloatArray, queries: Sequence[int]
) -> None:
    axes = _draw_panel(sheet, (row, 0), _enlarged(image))
    # The first dot last, so that it lies on top where dots meet.
    for query, colour in reversed(list(zip(queries, QUERY_COLOURS, strict=False))):
        _draw_dot(axes, query, grid_sides(attention)[0], colour)
    left, top = sheet.layout.panel_corner(row, 0)
    sheet.text(left, top + _PANEL + 6, f"{image.shape[1]} × {image.shape[0]} pixels")


def _draw_attended(
    sheet: _Sheet,
    place: tuple[int, int],
    image: UInt8Array,
    attention: FloatArray,
    query: int,
    peak: float | None,
) -> None:
    """One query's panel: heat over the dimmed picture, outline, dot and caption."""
    row, index = place
    query_side, key_side = grid_sides(attention)
    weights, colour = attention[query], QUERY_COLOURS[index]
    brightness = heat(weights, peak).reshape(key_side, key_side)
    axes = _draw_panel(sheet, (row, index + 1), _lit(_dimmed(_enlarged(image)), brightness))
    region = attended_region(weights)
    if region.mean() <= NEARLY_UNIFORM:
        _draw_outline(axes, outline(region.reshape(key_side, key_side)), colour)
    _draw_dot(axes, query, query_side, colour)
    left, top = sheet.layout.panel_corner(row, index + 1)
    sheet.text(left, top + _PANEL + 6, _caption(weights, float(region.mean())))


def _draw_panel(sheet: _Sheet, place: tuple[int, int], picture: UInt8Array) -> Axes:
    """A square with a picture in it, whose coordinates run from 0 to 1, right and down."""
    from matplotlib.patches import Rectangle

    axes = sheet.axes(*sheet.layout.panel_corner(*place), _PANEL, _PANEL)
    axes.imshow(picture, extent=(0, 1, 1, 0), aspect="auto", interpolation="antialiased")
    # A hairline, so that a picture on white has an edge.
    frame = Rectangle((0, 0), 1, 1, fill=False, edgecolor="#d0d0d0", linewidth=0.5)
    frame.set_clip_on(False)
    axes.add_patch(frame)
    return axes


def _draw_dot(axes: Axes, query: int, side: int, colour: str) -> None:
    """A dot edged in white, and that in thin grey, to stand out on white pictures too."""
    x, y = query_to_pixel(query, 1, side)
    for face, size in (("#777777", 8.4), ("white", 7.8), (colour, 5.8)):
        axes.plot([x], [y], "o", color=face, markersize=size, markeredgewidth=0, clip_on=False)


def _draw_outline(axes: Axes, segments: Float64Array, colour: str) -> None:
    """Stroke the region's border in the dot's colour, on a wider white line that sets it off."""
    from matplotlib.collections import LineCollection

    # Two collections, or the white of one segment would cut into the colour of the one before.
    for line_colour, width in (("white", 2.0), (colour, 1.1)):
        lines = LineCollection(list(segments), colors=line_colour, linewidths=width, zorder=1.5)
        lines.set(capstyle="projecting", clip_on=False)
        axes.add_collection(lines, autolim=False)


def _draw_footer(sheet: _Sheet, note: list[str], peak: float | None) -> None:
    layout = sheet.layout
    width, height = 128, 10
    left, top = layout.margin, layout.footer_top
    ramp = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    dark = np.full((height, width, 3), 70, dtype=np.uint8)
    sheet.text(left, top, "uniform (1×)")
    bar_left = left + 112
    axes = sheet.axes(bar_left, top + 4, width, height)
    axes.imshow(_blend(dark, ramp), aspect="auto", interpolation="antialiased")
    end = "each panel's peak" if peak is None else _times(peak)
    sheet.text(bar_left + width + 10, top, end)
    for i, line in enumerate(note):
        sheet.text(left, top + layout.scale + i * layout.line, line)


def _enlarged(image: UInt8Array) -> UInt8Array:
    """Repeat pixels to the largest whole multiple that fits a panel, so that they stay crisp."""
    factor = max(1, _PANEL // image.shape[0])
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _dimmed(image: UInt8Array) -> UInt8Array:
    """The picture nearly without colour and dark, so that heat is what one sees."""
    luminance = image @ np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709, on the stored values
    quiet = 0.85 * luminance[..., None] + 0.15 * image
    return np.asarray(12 + 0.4 * quiet, dtype=np.uint8)


def _lit(picture: UInt8Array, brightness: Float64Array) -> UInt8Array:
    """Lay heat (key_side, key_side) over a picture (H, W, 3)."""
    return _blend(picture, upsample_bilinear(brightness, picture.shape[0]))


def _blend(picture: UInt8Array, brightness: Float64Array) -> UInt8Array:
    """Mix the colour map into a picture (H, W, 3) by brightness (H, W) in [0, 1]."""
    from matplotlib import colormaps

    # The map's black end is left out: over a dark picture it would darken what it should light.
    colour = 255 * colormaps[_HEAT_MAP](0.25 + 0.75 * brightness)[..., :3]
    alpha = 0.85 * brightness[..., None] ** 0.75
    return np.asarray(np.rint((1 - alpha) * picture + alpha * colour), dtype=np.uint8)


def _caption(weights: FloatArray, half: float) -> str:
    """How concentrated one query's attention is, short enough for the width of a panel."""
    if half > NEARLY_UNIFORM:
        return f"nearly uniform: half in {_percent(half)}"
    return f"half in {_percent(half)} · peak {_times(float(weights.max()) * weights.size)}"


def _note(attention: FloatArray, peak: float | None) -> str:
    """How to read the figure."""
    _, key_side = grid_sides(attention)
    top = (
        f"each panel's own maximum (at least {_times(LEAST_PEAK)})"
        if peak is None
        else f"{_times(peak)}, in all panels alike"
    )
    return (
        "Each panel shows what the pixel at its dot attends to. Heat: how many times uniform "
        f"attention a place gets, on a log scale from 1× (not highlighted) to {top}; "
        "interpolated bilinearly between the keys. Outline: the fewest keys, as cells of their "
        f"{key_side} × {key_side} grid, that hold half of the attention; 'half in' gives their "
        "share of the picture. Nearly uniform attention has no outline."
    )


def _line_length(columns: int) -> int:
    """Characters of the note that fit a line: in its type they average 8.4 pixels, or less."""
    layout = _Layout(rows=1, columns=columns, note_lines=0)
    return int((layout.width - 2 * layout.margin) / 8.4)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def _times(multiple: float) -> str:
    return f"{multiple:.1f}×" if multiple < 9.95 and multiple % 1 else f"{multiple:.0f}×"


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
