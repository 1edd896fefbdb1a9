"""The attention figure: pictures, query dots, what each dot draws on, and how far and how sharply
every pixel looks.

A figure has one section for each attention layer, and in it a row for each picture.
"""

# ruff: noqa: RUF001 -- captions mean the multiplication sign that they use

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sagan.explain.canvas import INK, LARGE, LINE, SMALL, Sheet, fitted, wrapped
from sagan.explain.captions import dot_caption, layer_summary, reading_note
from sagan.explain.overlay import NEARLY_UNIFORM
from sagan.explain.panels import (
    HEAT_MAP,
    PANEL,
    color_ramp,
    draw_dot,
    draw_field,
    draw_heat,
    draw_map,
    draw_picture,
    draw_region,
)
from sagan.explain.receptive import convolution_window
from sagan.explain.statistics import (
    attended_region,
    attention_beyond,
    attention_distance,
    attention_entropy,
    grid_sides,
)
from sagan.explain.view import LayerView
from sagan.figures import figure_style
from sagan.types import UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Red first, as in the paper. They stay apart from each other and from the heat for readers with
# the common color blindnesses, because they differ in lightness as well as in hue.
QUERY_COLORS = ("#e8132b", "#1f8fff", "#ffd21f", "#00a070", "#f0a0e8", "#4b2a86")

DISTANCE_MAP, ENTROPY_MAP = "viridis", "cividis"
# Heat is brightest at so many times uniform attention, in every figure, so that figures compare.
PEAK = 16.0

# In pixels of the sheet.
_MARGIN, _GAP = 24, 12
_COLUMN_HEAD, _CAPTION, _BARS = 30, 62, 70


@dataclass(frozen=True)
class _Grid:
    """Where a section's panels go. Many dots take several lines, and the maps then go below the
    picture instead of beside the dots."""

    num_dots: int
    rows: int

    @property
    def across(self) -> int:
        """Dots in a line."""
        if self.num_dots <= len(QUERY_COLORS):
            return self.num_dots
        return math.isqrt(self.num_dots - 1) + 1

    @property
    def lines(self) -> int:
        return -(-self.num_dots // self.across)

    @property
    def columns(self) -> int:
        return 1 + self.across + (0 if self.lines > 2 else 2)

    @property
    def height(self) -> int:
        """Of the section, without its heading."""
        return _COLUMN_HEAD + self.rows * self.lines * (PANEL + _CAPTION) + _BARS

    def dot(self, index: int) -> tuple[int, int]:
        """Line within its row, and column, of a dot's panel."""
        line, place = divmod(index, self.across)
        return line, 1 + place

    def map(self, index: int) -> tuple[int, int]:
        """The same of the two maps."""
        return (1 + index, 0) if self.lines > 2 else (0, 1 + self.across + index)

    @property
    def bar_columns(self) -> tuple[int, int, int]:
        """Where the color bars of heat and of the two maps go."""
        return (1, 2, 3) if self.lines > 2 else (1, 1 + self.across, 2 + self.across)


def attention_figure(
    images: UInt8Array, layers: Sequence[LayerView], titles: Sequence[str] = ()
) -> Figure:
    """Draw what chosen pixels attend to.

    For each layer a section, and in it one row per image: the picture with its query dots; one
    panel per dot, the picture in dim gray, the attention as heat over it (`overlay.heat`: log
    scale from uniform attention, which is not highlighted, to 16 times that; bilinear
    between the keys' centers), and, in the dot's color, the outline of the fewest keys that hold
    half of the attention; then a map of every pixel's attention distance and one of its entropy.
    No outline is drawn where half of the attention takes more than 40 % of the keys: the caption
    then says that it is nearly uniform. A dot sits at the center of its query's cell. The white
    square around it is what a 3x3 convolution in the layer's place would read of the layer's own
    map; in a discriminator the dashed one is what it sees of the picture with all
    convolutions before it.

    Args:
        images: uint8 `(num, H, W, 3)`, H = W.
        layers: what to show, at least one.
        titles: what to write below each image, any text; none by default.

    Returns:
        A figure that belongs to no window and no global state, for `save_figure`.

    Raises:
        ValueError: shapes do not fit, a query is out of range, or an image has none, more than 64
            or other numbers than its neighbors.
    """
    _check(images, layers, titles)
    grids = [_Grid(len(layer.queries[0]), len(images)) for layer in layers]
    width = 2 * _MARGIN + max(grid.columns for grid in grids) * (PANEL + _GAP) - _GAP
    with figure_style():
        note = wrapped(reading_note(layers[0].sees_picture), width - 2 * _MARGIN, SMALL)
        heads = [
            wrapped(layer_summary(layer, images.shape[1]), width - 2 * _MARGIN) for layer in layers
        ]
        lines = len(note) + sum(len(head) + 2 for head in heads)
        panels = sum(grid.height for grid in grids)
        sheet = Sheet(width, 2 * _MARGIN + lines * LINE + panels)
        top = _MARGIN
        for layer, grid, head in zip(layers, grids, heads, strict=True):
            sheet.text(_MARGIN, top, layer.name, size=LARGE, color=INK, weight="bold")
            sheet.lines(_MARGIN, top + LINE + 10, head)
            top += (len(head) + 2) * LINE
            _Section(sheet, top, grid, layer, images).draw(titles)
            top += grid.height
        sheet.lines(_MARGIN, top, note, size=SMALL)
    return sheet.figure


@dataclass(frozen=True, eq=False)
class _Section:
    """The panels of one layer on the sheet, from a height downwards."""

    sheet: Sheet
    top: int
    grid: _Grid
    layer: LayerView
    images: UInt8Array

    def draw(self, titles: Sequence[str]) -> None:
        """Draw all rows, below their heads and above their color bars."""
        attention, size = self.layer.attention, self.images.shape[1]
        distance, entropy = attention_distance(attention, size), attention_entropy(attention)
        # A layer of one position has no distance and no entropy: any scale serves it.
        farthest = max(float(distance.max()), 1e-9)
        undecided = max(math.log(attention.shape[-1]), 1e-9)
        self.sheet.text(self._left(0), self.top, "picture", color=INK)
        self.sheet.text(self._left(1), self.top, "attention of each dot", color=INK)
        for row in range(len(self.images)):
            self._draw_picture(row, titles[row : row + 1])
            self._draw_dots(row)
            caption = ["attention distance", f"mean {distance[row].mean():.1f} px"]
            draw_map(self._map(row, 0, caption), distance[row], farthest, DISTANCE_MAP)
            caption = ["attention entropy", f"mean {entropy[row].mean():.2f} nats"]
            draw_map(self._map(row, 1, caption), entropy[row], undecided, ENTROPY_MAP)
        columns = self.grid.bar_columns
        self._draw_bar(columns[0], HEAT_MAP, "1× uniform", f"{PEAK:.0f}× or more")
        self._draw_bar(columns[1], DISTANCE_MAP, "distance 0", f"{farthest:.0f} px")
        self._draw_bar(columns[2], ENTROPY_MAP, "entropy 0", f"{undecided:.2f} nats")

    @property
    def _side(self) -> int:
        return grid_sides(self.layer.attention)[0]

    def _draw_picture(self, row: int, title: Sequence[str]) -> None:
        axes = self._panel(row, (0, 0), [fitted(text, PANEL) for text in title])
        draw_picture(axes, self.images[row])
        queries = self.layer.queries[row]
        # The first dot last, so that it lies on top where dots meet.
        for query, color in reversed(list(zip(queries, _colors(len(queries)), strict=True))):
            draw_dot(axes, query, self._side, color)

    def _draw_dots(self, row: int) -> None:
        """A panel for each dot: heat over the dimmed picture, outline, fields, dot, caption."""
        attention, size = self.layer.attention[row], self.images.shape[1]
        window = convolution_window(self._side, size)
        beyond = attention_beyond(attention[None], window, size)[0]
        queries = self.layer.queries[row]
        for i, (query, color) in enumerate(zip(queries, _colors(len(queries)), strict=True)):
            region = attended_region(attention[query])
            axes = self._panel(row, self.grid.dot(i), dot_caption(region.mean(), beyond[query]))
            draw_heat(axes, self.images[row], attention[query], PEAK)
            if region.mean() <= NEARLY_UNIFORM:
                draw_region(axes, region, color)
            draw_field(axes, query, window, size, "solid")
            if self.layer.sees_picture:
                draw_field(axes, query, self.layer.field, size, "dashed")
            draw_dot(axes, query, self._side, color)

    def _map(self, row: int, index: int, caption: Sequence[str]) -> Axes:
        return self._panel(row, self.grid.map(index), caption)

    def _panel(self, row: int, place: tuple[int, int], caption: Sequence[str]) -> Axes:
        line, column = place
        left = self._left(column)
        top = self.top + _COLUMN_HEAD + (row * self.grid.lines + line) * (PANEL + _CAPTION)
        self.sheet.lines(left, top + PANEL + 5, caption)
        return self.sheet.axes(left, top, PANEL, PANEL)

    def _left(self, column: int) -> int:
        return _MARGIN + column * (PANEL + _GAP)

    def _draw_bar(self, column: int, colors: str, start: str, end: str) -> None:
        left, top = self._left(column), self.top + self.grid.height - _BARS
        axes = self.sheet.axes(left, top, PANEL, 14)
        axes.imshow(color_ramp(colors, PANEL, 14), aspect="auto", interpolation="antialiased")
        self.sheet.text(left, top + 18, start, size=SMALL)
        self.sheet.text(left + PANEL, top + 18, end, size=SMALL, ha="right")


def _check(images: UInt8Array, layers: Sequence[LayerView], titles: Sequence[str]) -> None:
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise ValueError(f"images must have shape (num, H, W, 3) with H = W, not {images.shape}")
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, not {images.dtype}")
    if not layers or not len(images) or (titles and len(titles) != len(images)):
        raise ValueError(
            f"{len(images)} images, {len(layers)} layers, {len(titles)} titles: at least one "
            "image and layer are needed, and a title for each image or none"
        )
    for layer in layers:
        layer.check(len(images))


def _colors(num: int) -> list[str]:
    """A color for each dot in a picture; of many dots, the places tell them apart."""
    if num > len(QUERY_COLORS):
        return [QUERY_COLORS[0]] * num
    return list(QUERY_COLORS[:num])
