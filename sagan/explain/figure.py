"""The attention figure: pictures, query dots, what each dot draws on, and how far and how sharply
every pixel looks.

A figure has one section for each attention layer, and in it a row for each picture.
"""

# ruff: noqa: RUF001 -- captions mean the multiplication sign that they use

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sagan.errors import SaganError
from sagan.explain.overlay import NEARLY_UNIFORM, UInt8Array
from sagan.explain.panels import (
    HEAT_MAP,
    PANEL,
    colour_ramp,
    draw_dot,
    draw_field,
    draw_heat,
    draw_map,
    draw_picture,
    draw_region,
)
from sagan.explain.receptive import IntArray, convolution_window
from sagan.explain.sheet import INK, LARGE, SMALL, Sheet, figure_style, fitted, wrapped
from sagan.explain.statistics import (
    FloatArray,
    attended_region,
    attention_beyond,
    attention_distance,
    attention_entropy,
    concentration,
    grid_sides,
    uniform_distance,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Red first, as in the paper. They stay apart from each other and from the heat for readers with
# the common colour blindnesses, because they differ in lightness as well as in hue.
QUERY_COLOURS = ("#e8132b", "#1f8fff", "#ffd21f", "#00a070", "#f0a0e8", "#4b2a86")
MOST_QUERIES = 64

FORMATS = (".png", ".svg", ".pdf")

DISTANCE_MAP, ENTROPY_MAP = "viridis", "cividis"
# Heat is brightest at so many times uniform attention, in every figure, so that figures compare.
PEAK = 16.0

# In pixels of the sheet.
_MARGIN, _GAP, _LINE = 24, 12, 26
_COLUMN_HEAD, _CAPTION, _BARS = 30, 62, 70


@dataclass(frozen=True, eq=False)
class LayerView:
    """One attention layer as a figure shows it.

    Attributes:
        name: such as "generator.attention_16".
        attention: float ``(num, N, M)``; each row is at least 0 and sums to 1.
        queries: for each image the row indices n in [0, N) to draw, 1 to 64 and equally many.
        gamma: the layer's learned scale, what its attention counts for.
        field: int ``(side, 2)``: what convolutions alone see, from
            :func:`sagan.explain.receptive.receptive_field`.
    """

    name: str
    attention: FloatArray
    queries: Sequence[Sequence[int]]
    gamma: float
    field: IntArray

    @property
    def sees_picture(self) -> bool:
        """Whether the field lies in the picture itself, and not in the generator's start."""
        return self.name.startswith("discriminator.")


@dataclass(frozen=True)
class _Grid:
    """Where a section's panels go. Many dots take several lines, and the maps then go below the
    picture instead of beside the dots."""

    num_dots: int
    rows: int

    @property
    def across(self) -> int:
        """Dots in a line."""
        if self.num_dots <= len(QUERY_COLOURS):
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
        """Where the colour bars of heat and of the two maps go."""
        return (1, 2, 3) if self.lines > 2 else (1, 1 + self.across, 2 + self.across)


def attention_figure(
    images: UInt8Array, layers: Sequence[LayerView], titles: Sequence[str] = ()
) -> Figure:
    """Draw what chosen pixels attend to.

    For each layer a section, and in it one row per image: the picture with its query dots; one
    panel per dot, the picture in dim grey, the attention as heat over it (``overlay.heat``: log
    scale from uniform attention, which is not highlighted, to 16 times that; bilinear
    between the keys' centres), and, in the dot's colour, the outline of the fewest keys that hold
    half of the attention; then a map of every pixel's attention distance and one of its entropy.
    No outline is drawn where half of the attention takes more than 40 % of the keys: the caption
    then says that it is nearly uniform. A dot sits at the centre of its query's cell. The white
    square around it is what a 3x3 convolution in the layer's place would read of the layer's own
    map; in a discriminator the dashed one is what it sees of the picture with all
    convolutions before it.

    Args:
        images: uint8 ``(num, H, W, 3)``, H = W.
        layers: what to show, at least one.
        titles: what to write below each image, any text; none by default.

    Returns:
        A figure that belongs to no window and no global state, for ``save_figure``.

    Raises:
        ValueError: shapes do not fit, a query is out of range, or an image has none, more than 64
            or other numbers than its neighbours.
    """
    _check(images, layers, titles)
    grids = [_Grid(len(layer.queries[0]), len(images)) for layer in layers]
    width = 2 * _MARGIN + max(grid.columns for grid in grids) * (PANEL + _GAP) - _GAP
    with figure_style():
        note = wrapped(_note(layers), width - 2 * _MARGIN, SMALL)
        texts = [wrapped(_summary(layer, images.shape[1]), width - 2 * _MARGIN) for layer in layers]
        heights = [
            _LINE * (len(text) + 2) + grid.height for text, grid in zip(texts, grids, strict=True)
        ]
        sheet = Sheet(width, _MARGIN + sum(heights) + _LINE * len(note) + _MARGIN)
        top = _MARGIN
        for layer, grid, text, height in zip(layers, grids, texts, heights, strict=True):
            sheet.text(_MARGIN, top, layer.name, size=LARGE, color=INK, weight="bold")
            for i, line in enumerate(text):
                sheet.text(_MARGIN, top + _LINE * (i + 1) + 10, line)
            panels_top = top + height - grid.height
            _Section(sheet, panels_top, grid, layer, images).draw(titles)
            top += height
        for i, line in enumerate(note):
            sheet.text(_MARGIN, top + _LINE * i, line, size=SMALL)
    return sheet.figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the path's extension.

    Text stays text in SVG and PDF. The same figure gives the same bytes. The file is written only
    once the whole picture is drawn.

    Raises:
        SaganError: the extension is another, or the file cannot be written.
    """
    path = Path(path)
    check_format(path)
    # Neither a date nor matplotlib's version.
    unwanted = {".png": ["Software"], ".svg": ["Date"], ".pdf": ["CreationDate"]}
    extension = path.suffix.lower()
    drawn = io.BytesIO()
    with figure_style():
        figure.savefig(
            drawn,
            format=extension[1:],
            dpi=figure.dpi,
            metadata=dict.fromkeys(unwanted[extension]),
        )
    try:
        path.write_bytes(drawn.getvalue())
    except OSError as error:
        reason = error.strerror or "the system refuses"
        raise SaganError(
            f"cannot write the figure to {path}: {reason}; name a file in a folder you can write to"
        ) from error


def check_format(path: Path) -> None:
    """Insist that a figure can be written under this name.

    Raises:
        SaganError: the extension is none of FORMATS.
    """
    if path.suffix.lower() not in FORMATS:
        raise SaganError(
            f"cannot tell the figure's format from {path}: end it in .png, .svg or .pdf"
        )


@dataclass(frozen=True, eq=False)
class _Section:
    """The panels of one layer on the sheet, from a height downwards."""

    sheet: Sheet
    top: int
    grid: _Grid
    layer: LayerView
    images: UInt8Array

    def draw(self, titles: Sequence[str]) -> None:
        """Draw all rows, below their heads and above their colour bars."""
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
        for query, colour in reversed(list(zip(queries, _colours(len(queries)), strict=True))):
            draw_dot(axes, query, self._side, colour)

    def _draw_dots(self, row: int) -> None:
        """A panel for each dot: heat over the dimmed picture, outline, fields, dot, caption."""
        attention, size = self.layer.attention[row], self.images.shape[1]
        window = convolution_window(self._side, size)
        beyond = attention_beyond(attention[None], window, size)[0]
        queries = self.layer.queries[row]
        for i, (query, colour) in enumerate(zip(queries, _colours(len(queries)), strict=True)):
            region = attended_region(attention[query])
            axes = self._panel(row, self.grid.dot(i), _caption(region.mean(), beyond[query]))
            draw_heat(axes, self.images[row], attention[query], PEAK)
            if region.mean() <= NEARLY_UNIFORM:
                draw_region(axes, region, colour)
            draw_field(axes, query, window, size, "solid")
            if self.layer.sees_picture:
                draw_field(axes, query, self.layer.field, size, "dashed")
            draw_dot(axes, query, self._side, colour)

    def _map(self, row: int, index: int, caption: Sequence[str]) -> Axes:
        return self._panel(row, self.grid.map(index), caption)

    def _panel(self, row: int, place: tuple[int, int], caption: Sequence[str]) -> Axes:
        line, column = place
        left = self._left(column)
        top = self.top + _COLUMN_HEAD + (row * self.grid.lines + line) * (PANEL + _CAPTION)
        for i, text in enumerate(caption):
            self.sheet.text(left, top + PANEL + 5 + _LINE * i, text)
        return self.sheet.axes(left, top, PANEL, PANEL)

    def _left(self, column: int) -> int:
        return _MARGIN + column * (PANEL + _GAP)

    def _draw_bar(self, column: int, colours: str, start: str, end: str) -> None:
        left, top = self._left(column), self.top + self.grid.height - _BARS
        axes = self.sheet.axes(left, top, PANEL, 14)
        axes.imshow(colour_ramp(colours, PANEL, 14), aspect="auto", interpolation="antialiased")
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
        _check_layer(layer, len(images))


def _check_layer(layer: LayerView, num: int) -> None:
    if layer.attention.ndim != 3 or not num == len(layer.attention) == len(layer.queries):
        raise ValueError(
            f"{layer.name}: attention {layer.attention.shape} and queries for "
            f"{len(layer.queries)} images do not belong to {num} images"
        )
    side, _ = grid_sides(layer.attention)
    if layer.field.shape != (side, 2):
        raise ValueError(f"the field must have shape {(side, 2)}, not {layer.field.shape}")
    numbers = {len(row) for row in layer.queries}
    if len(numbers) != 1 or not 1 <= max(numbers) <= MOST_QUERIES:
        raise ValueError(f"each image needs 1 to {MOST_QUERIES} queries, as many as the others")
    if not all(0 <= query < layer.attention.shape[1] for row in layer.queries for query in row):
        raise ValueError(f"queries must be row indices in 0 .. {layer.attention.shape[1] - 1}")


def _colours(num: int) -> list[str]:
    """A colour for each dot in a picture; of many dots, the places tell them apart."""
    if num > len(QUERY_COLOURS):
        return [QUERY_COLOURS[0]] * num
    return list(QUERY_COLOURS[:num])


def _caption(half: float, beyond: float) -> list[str]:
    """What one query's panel says, in lines that fit below it."""
    first = "nearly uniform" if half > NEARLY_UNIFORM else f"half in {_percent(half)}"
    return [first, f"{_percent(beyond)} beyond 3×3"]


def _summary(layer: LayerView, size: int) -> str:
    """The layer in numbers: means over the images and all their queries."""
    attention = layer.attention
    query_side, key_side = grid_sides(attention)
    distance = attention_distance(attention, size).mean()
    uniform = uniform_distance(query_side, key_side, size).mean()
    beyond = attention_beyond(attention, convolution_window(query_side, size), size).mean()
    half = concentration(attention).mean()
    gamma = f"{layer.gamma:+.3f}".replace("-", "−")
    return (
        f"{query_side} × {query_side} positions attend to {key_side} × {key_side} keys; "
        f"gamma {gamma}. On average a position looks {distance:.1f} px away (uniform "
        f"attention: {uniform:.1f} px), half of its attention lies in {_percent(half)} of the "
        f"keys, and {_percent(beyond)} goes beyond the 3 × 3 positions that a convolution here "
        f"would read. {_field(layer, size)}"
    )


def _field(layer: LayerView, size: int) -> str:
    """How far convolutions alone see."""
    widths = layer.field[:, 1] - layer.field[:, 0]
    if layer.sees_picture:
        told = f"{widths.min()} to {widths.max()} px of the picture"
    else:
        blocks = widths * 4 // size
        told = f"{blocks.min()} to {blocks.max()} of the 4 blocks that the picture starts from"
    return f"Through the convolutions before it, that one sees {told} each way."


def _note(layers: Sequence[LayerView]) -> str:
    """How to read the figure."""
    field = "Dashed: what it sees of the picture through the convolutions before it. "
    return (
        "Heat: how many times uniform attention a place gets, on a log scale, interpolated between "
        "keys. Outline in the dot's colour: the fewest keys that hold half of the attention; "
        "'half in' is their share of all keys. White square: the positions that a 3 × 3 "
        "convolution in the layer's place would read; 'beyond 3×3' is the attention outside it. "
        f"{field if layers[0].sees_picture else ''}"
        "Distance: how far away on average a pixel looks. Entropy: how undecided it is, from 0 "
        "(one key) to uniform."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"
