"""The elements of a figure's panels: image, heat, outlines, dots, a map of numbers.

All functions draw into axes with coordinates from 0 to 1, to the right and down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from sagan.explain.overlay import heat, outline, upsample_bilinear
from sagan.explain.queries import query_to_pixel
from sagan.explain.statistics import Both, both, grid_of
from sagan.types import BoolArray, Float64Array, FloatArray, Int64Array, UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = 256  # width in pixels: a whole multiple of 32, 64, 128 and 256, hence crisp
HEAT_MAP = "inferno"  # perceptually uniform, like the maps of numbers


def draw_image(axes: Axes, image: UInt8Array) -> None:
    """Draw an image (H, W, 3) that fills the panel, with crisp pixels."""
    from matplotlib.patches import Rectangle

    factor = max(1, PANEL // image.shape[1])
    crisp = image.repeat(factor, axis=0).repeat(factor, axis=1)
    axes.imshow(crisp, extent=(0, 1, 1, 0), aspect="auto", interpolation="antialiased")
    # A hairline, so that a white image has an edge.
    frame = Rectangle((0, 0), 1, 1, fill=False, edgecolor="#c8c8c8", linewidth=0.4)
    frame.set_clip_on(False)
    axes.add_patch(frame)


def draw_heat(axes: Axes, image: UInt8Array, attention_row: FloatArray, peak: float) -> None:
    """Draw one query's attention (M,) as heat over the dimmed image (H, W, 3)."""
    height, width = image.shape[:2]
    brightness = heat(attention_row, peak).reshape(grid_of(attention_row.size, (height, width)))
    factor = max(1, PANEL // width)
    dim = _dimmed(image.repeat(factor, axis=0).repeat(factor, axis=1))
    draw_image(axes, lit(dim, upsample_bilinear(brightness, (factor * height, factor * width))))


def draw_map(axes: Axes, values: Float64Array, largest: float, colors: str) -> None:
    """Draw a number for each query (rows, columns), from 0 to `largest`, as a color."""
    from matplotlib import colormaps

    share = np.clip(values / largest, 0, 1)
    draw_image(axes, np.asarray(np.rint(255 * colormaps[colors](share)[..., :3]), np.uint8))


def draw_region(axes: Axes, region: BoolArray, color: str) -> None:
    """Draw the border of a region of keys (rows, columns), on a white line for contrast."""
    from matplotlib.collections import LineCollection

    segments = list(outline(region))
    fine = min(1.0, 16 / region.shape[1])  # lines must not fill the cells of a fine grid
    # Two collections, or the white of one segment would cover the color of the previous one.
    for line_color, width in (("white", 1.5 * fine), (color, 0.8 * fine)):
        lines = LineCollection(segments, colors=line_color, linewidths=width, zorder=1.5)
        lines.set(capstyle="projecting", clip_on=False)
        axes.add_collection(lines, autolim=False)


def draw_field(
    axes: Axes,
    query: int,
    spans: Both[Int64Array],
    image_size: tuple[int, int],
    style: Literal["solid", "dashed"],
) -> None:
    """Draw the square that a convolution sees from a query's place, from spans in pixels."""
    from matplotlib.patches import Rectangle

    (height, width), (down, across) = image_size, both(spans)
    row, column = divmod(query, len(across))
    (top, bottom), (left, right) = down[row] / height, across[column] / width
    for color, line in (("black", 1.4), ("white", 0.7)):
        square = Rectangle((left, top), right - left, bottom - top, fill=False, linestyle=style)
        square.set(edgecolor=color, linewidth=line, zorder=1.4)
        axes.add_patch(square)


def draw_dot(axes: Axes, query: int, grid: tuple[int, int], color: str) -> None:
    """Draw a dot with a white and a thin gray edge, to stand out on white images too."""
    x, y = query_to_pixel(query, 1, grid)
    for face, size in (("#777777", 5.4), ("white", 5.0), (color, 3.7)):
        axes.plot([x], [y], "o", color=face, markersize=size, markeredgewidth=0, clip_on=False)


def color_ramp(colors: str, width: int, height: int) -> UInt8Array:
    """Return a color map from left to right, uint8 (height, width, 3).

    Heat is shown as it looks over a dark image.
    """
    from matplotlib import colormaps

    ramp = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    if colors == HEAT_MAP:
        return lit(np.full((height, width, 3), 70, dtype=np.uint8), ramp)
    return np.asarray(np.rint(255 * colormaps[colors](ramp)[..., :3]), dtype=np.uint8)


def lit(image: UInt8Array, brightness: Float64Array) -> UInt8Array:
    """Return an image (H, W, 3) with heat mixed in by brightness (H, W) in [0, 1]."""
    from matplotlib import colormaps

    # Without the color map's black end, which would darken a dark image instead of lighting it.
    color = 255 * colormaps[HEAT_MAP](0.25 + 0.75 * brightness)[..., :3]
    alpha = 0.85 * brightness[..., None] ** 0.75
    return np.asarray(np.rint((1 - alpha) * image + alpha * color), dtype=np.uint8)


def _dimmed(image: UInt8Array) -> UInt8Array:
    """The image dark and almost without color, so that the heat stands out."""
    luminance = image @ np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709, on the stored values
    quiet = 0.85 * luminance[..., None] + 0.15 * image
    return np.asarray(12 + 0.4 * quiet, dtype=np.uint8)
