"""The attention figure: images, query dots, what each dot attends to, and how far and how sharply
every pixel looks.

A figure has a section for each attention layer, and in it a row for each image.
"""

# ruff: noqa: RUF001 -- the multiplication sign in captions is intended

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sagan.explain.canvas import BLACK, LARGE, LINE, SMALL, Canvas, fitted, wrapped
from sagan.explain.captions import (
    MAX_CREDIT,
    credit_line,
    dot_caption,
    layer_summary,
    reading_note,
)
from sagan.explain.overlay import NEARLY_UNIFORM
from sagan.explain.panels import (
    HEAT_MAP,
    PANEL,
    color_ramp,
    draw_dot,
    draw_field,
    draw_heat,
    draw_image,
    draw_map,
    draw_region,
)
from sagan.explain.receptive import convolution_windows
from sagan.explain.statistics import (
    attended_region,
    attention_beyond,
    attention_distance,
    attention_entropy,
    grids,
)
from sagan.explain.view import LayerView
from sagan.figures import figure_style
from sagan.types import UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Red first, as in the paper. Readers with the common forms of color blindness can tell them from
# each other and from the heat, because they differ in lightness as well as in hue.
QUERY_COLORS = ("#e8132b", "#1f8fff", "#ffd21f", "#00a070", "#f0a0e8", "#4b2a86")

DISTANCE_MAP, ENTROPY_MAP = "viridis", "cividis"
PEAK = 16.0  # times uniform attention: the brightest heat, in every figure, so that figures compare

# In pixels of the canvas.
_MARGIN, _GAP = 24, 12
_COLUMN_HEAD, _CAPTION, _BARS = 30, 62, 70


@dataclass(frozen=True)
class _Grid:
    """The places of a section's panels. Many dots take several lines; the maps are then below the
    image instead of beside the dots."""

    num_dots: int
    rows: int
    panel_height: int

    @property
    def across(self) -> int:
        """The number of dots in a line."""
        if self.num_dots <= len(QUERY_COLORS):
            return self.num_dots
        return math.isqrt(self.num_dots - 1) + 1

    @property
    def lines(self) -> int:
        """The number of lines that the dots of an image take."""
        return -(-self.num_dots // self.across)

    @property
    def columns(self) -> int:
        """The number of columns of panels."""
        return 1 + self.across + (0 if self.lines > 2 else 2)

    @property
    def height(self) -> int:
        """The height of the section without its heading."""
        return _COLUMN_HEAD + self.rows * self.lines * (self.panel_height + _CAPTION) + _BARS

    def dot(self, index: int) -> tuple[int, int]:
        """Return the line within its row, and the column, of a dot's panel."""
        line, place = divmod(index, self.across)
        return line, 1 + place

    def map(self, index: int) -> tuple[int, int]:
        """Return the same for one of the two maps."""
        return (1 + index, 0) if self.lines > 2 else (0, 1 + self.across + index)

    @property
    def bar_columns(self) -> tuple[int, int, int]:
        """The columns of the color bars: heat, distance, entropy."""
        return (1, 2, 3) if self.lines > 2 else (1, 1 + self.across, 2 + self.across)


def attention_figure(
    images: UInt8Array,
    layers: Sequence[LayerView],
    titles: Sequence[str] = (),
    credits: str = "",
) -> Figure:
    """Draw what chosen pixels attend to.

    Each layer has a section, with a row for each image: the image with its query dots; a panel for
    each dot, with the attention as heat over the dimmed image (`overlay.heat`: a log scale from
    uniform attention, which stays dark, to 16 times that; bilinear between the keys' centers) and,
    in the dot's color, the outline of the fewest keys that get half of the attention; then a map
    of every pixel's attention distance and one of its entropy. If half of the attention takes more
    than 40% of the keys, no outline is drawn, and the caption says that attention is nearly
    uniform. A dot is at the center of its query's cell. The white square around it is what a 3x3
    convolution in the layer's place would see of the layer's own map; in a discriminator, the
    dashed square is what it sees of the image with all convolutions before it.

    Args:
        images: uint8 `(num, H, W, 3)`.
        layers: the layers to show, at least one.
        titles: text below each image, of any kind; none by default.
        credits: lines on who made the training images; the first is printed at the bottom.

    Returns:
        A figure without a window or global state, for `save_figure`.

    Raises:
        ValueError: shapes do not fit, a query is out of range, or images do not have equally many
            queries, 1 to 64.
    """
    _check(images, layers, titles)
    size = images.shape[1], images.shape[2]
    panel_height = round(PANEL * size[0] / size[1])
    places = [_Grid(len(layer.queries[0]), len(images), panel_height) for layer in layers]
    width = 2 * _MARGIN + max(grid.columns for grid in places) * (PANEL + _GAP) - _GAP
    with figure_style():
        note = wrapped(reading_note(layers[0].sees_image), width - 2 * _MARGIN, SMALL)
        if credits:
            note.append(fitted(credit_line(credits), width - 2 * _MARGIN, SMALL, MAX_CREDIT))
        heads = [wrapped(layer_summary(layer, size), width - 2 * _MARGIN) for layer in layers]
        lines = len(note) + sum(len(head) + 2 for head in heads)
        panels = sum(grid.height for grid in places)
        canvas = Canvas(width, 2 * _MARGIN + lines * LINE + panels)
        top = _MARGIN
        for layer, grid, head in zip(layers, places, heads, strict=True):
            canvas.text(_MARGIN, top, layer.name, size=LARGE, color=BLACK, weight="bold")
            canvas.lines(_MARGIN, top + LINE + 10, head)
            top += (len(head) + 2) * LINE
            _Section(canvas, top, grid, layer, images).draw(titles)
            top += grid.height
        canvas.lines(_MARGIN, top, note, size=SMALL)
    return canvas.figure


@dataclass(frozen=True, eq=False)
class _Section:
    """The panels of one layer on the canvas, from `top` downward."""

    canvas: Canvas
    top: int
    grid: _Grid
    layer: LayerView
    images: UInt8Array

    def draw(self, titles: Sequence[str]) -> None:
        """Draw all rows, with headings above and color bars below."""
        attention = self.layer.attention
        maps = len(attention), *self._positions
        distance = attention_distance(attention, self._size).reshape(maps)
        entropy = attention_entropy(attention).reshape(maps)
        # With a single position, distance and entropy are 0: any scale will do.
        farthest = max(float(distance.max()), 1e-9)
        most_spread = max(math.log(attention.shape[-1]), 1e-9)
        self.canvas.text(self._left(0), self.top, "image", color=BLACK)
        self.canvas.text(self._left(1), self.top, "attention of each dot", color=BLACK)
        for row in range(len(self.images)):
            self._draw_image(row, titles[row : row + 1])
            self._draw_dots(row)
            caption = ["attention distance", f"mean {distance[row].mean():.1f} px"]
            draw_map(self._map(row, 0, caption), distance[row], farthest, DISTANCE_MAP)
            caption = ["attention entropy", f"mean {entropy[row].mean():.2f} nats"]
            draw_map(self._map(row, 1, caption), entropy[row], most_spread, ENTROPY_MAP)
        columns = self.grid.bar_columns
        self._draw_bar(columns[0], HEAT_MAP, "1× uniform", f"{PEAK:.0f}× or more")
        self._draw_bar(columns[1], DISTANCE_MAP, "distance 0", f"{farthest:.0f} px")
        self._draw_bar(columns[2], ENTROPY_MAP, "entropy 0", f"{most_spread:.2f} nats")

    @property
    def _size(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    @property
    def _positions(self) -> tuple[int, int]:
        return grids(self.layer.attention, self._size)[0]

    @property
    def _keys(self) -> tuple[int, int]:
        return grids(self.layer.attention, self._size)[1]

    def _draw_image(self, row: int, title: Sequence[str]) -> None:
        axes = self._panel(row, (0, 0), [fitted(text, PANEL) for text in title])
        draw_image(axes, self.images[row])
        queries = self.layer.queries[row]
        # The first dot last, so that it is on top where dots overlap.
        for query, color in reversed(list(zip(queries, _colors(len(queries)), strict=True))):
            draw_dot(axes, query, self._positions, color)

    def _draw_dots(self, row: int) -> None:
        """Draw a panel for each dot: heat over the dimmed image, outline, fields, dot, caption."""
        attention, size = self.layer.attention[row], self._size
        window = convolution_windows(self._positions, size)
        beyond = attention_beyond(attention[None], window, size)[0]
        queries = self.layer.queries[row]
        for i, (query, color) in enumerate(zip(queries, _colors(len(queries)), strict=True)):
            region = attended_region(attention[query])
            axes = self._panel(row, self.grid.dot(i), dot_caption(region.mean(), beyond[query]))
            draw_heat(axes, self.images[row], attention[query], PEAK)
            if region.mean() <= NEARLY_UNIFORM:
                draw_region(axes, region.reshape(self._keys), color)
            draw_field(axes, query, window, size, "solid")
            if self.layer.sees_image:
                draw_field(axes, query, self.layer.field, size, "dashed")
            draw_dot(axes, query, self._positions, color)

    def _map(self, row: int, index: int, caption: Sequence[str]) -> Axes:
        return self._panel(row, self.grid.map(index), caption)

    def _panel(self, row: int, place: tuple[int, int], caption: Sequence[str]) -> Axes:
        line, column = place
        left = self._left(column)
        top = (
            self.top
            + _COLUMN_HEAD
            + (row * self.grid.lines + line) * (self.grid.panel_height + _CAPTION)
        )
        self.canvas.lines(left, top + self.grid.panel_height + 5, caption)
        return self.canvas.axes(left, top, PANEL, self.grid.panel_height)

    def _left(self, column: int) -> int:
        return _MARGIN + column * (PANEL + _GAP)

    def _draw_bar(self, column: int, colors: str, start: str, end: str) -> None:
        left, top = self._left(column), self.top + self.grid.height - _BARS
        axes = self.canvas.axes(left, top, PANEL, 14)
        axes.imshow(color_ramp(colors, PANEL, 14), aspect="auto", interpolation="antialiased")
        self.canvas.text(left, top + 18, start, size=SMALL)
        self.canvas.text(left + PANEL, top + 18, end, size=SMALL, ha="right")


def _check(images: UInt8Array, layers: Sequence[LayerView], titles: Sequence[str]) -> None:
    if images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"images must have shape (num, H, W, 3), not {images.shape}")
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, not {images.dtype}")
    if not layers or not len(images) or (titles and len(titles) != len(images)):
        raise ValueError(
            f"{len(images)} images, {len(layers)} layers, {len(titles)} titles: at least one "
            "image and layer are needed, and a title for each image or none"
        )
    for layer in layers:
        layer.check(len(images), (images.shape[1], images.shape[2]))


def _colors(num: int) -> list[str]:
    """A color for each dot of an image; the places of many dots tell them apart."""
    if num > len(QUERY_COLORS):
        return [QUERY_COLORS[0]] * num
    return list(QUERY_COLORS[:num])
