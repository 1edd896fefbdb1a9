"""Many images in one, with names at them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sagan.images.lettering import LINE_HEIGHT, draw_lines, text_width, wrapped
from sagan.images.rgb import as_rgb
from sagan.images.shape import ImageShape
from sagan.types import UInt8Array

GAP = 2  # pixels between images
VISIBLE_SIDE = 96  # pixels: smaller images are enlarged for people
MAX_ENLARGED_PIXELS = 2**25  # of all images together, up to which they are enlarged unasked
MAX_NAME_LINES = 2
MAX_ROW_NAME = 160  # pixels of the margin that has the names of rows


def grid_columns(num: int, turns: int) -> int:
    """Return the number of columns of a grid: near square, one class per column where that fits.

    Args:
        num: the number of images.
        turns: the number of images after which the first class comes again; 0 without classes.
    """
    side = math.sqrt(num)
    if 2 <= turns <= 16:
        return min(num, turns * max(1, round(side / turns)))
    return min(num, math.ceil(side))


def visible_scale(shape: ImageShape, num: int) -> int:
    """Return how much to enlarge `num` images for people to see them well.

    It is the smallest whole factor that gives their shorter side `VISIBLE_SIDE` pixels, or less
    where all together would have more than `MAX_ENLARGED_PIXELS`.
    """
    most = math.isqrt(MAX_ENLARGED_PIXELS // (num * shape.height * shape.width))
    return max(1, min(math.ceil(VISIBLE_SIDE / shape.side), most))


def enlarged(image: UInt8Array, factor: int) -> UInt8Array:
    """Enlarge each pixel to a square of side f: uint8 (H, W, C) -> (fH, fW, C)."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def image_grid(images: UInt8Array, columns: int, scale: int = 1) -> UInt8Array:
    """Arrange images row by row, `GAP` white pixels apart: uint8 (num, H, W, C) -> (H', W', 3).

    Each pixel of an image becomes a square of `scale` pixels; transparent images lie on white.
    """
    images = as_rgb(images)
    num, height, width = len(images), images.shape[1] * scale, images.shape[2] * scale
    rows = math.ceil(num / columns)
    down, across = height + GAP, width + GAP
    grid = np.full((rows * down - GAP, columns * across - GAP, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * down, i % columns * across
        grid[top : top + height, left : left + width] = enlarged(image, scale)
    return grid


def split_grid(grid: UInt8Array, shape: ImageShape) -> UInt8Array | None:
    """Take a grid of scale 1 apart: (H', W', 3) -> uint8 (rows, columns, H, W, 3).

    Returns:
        A view of the grid; None if images of this shape do not fit into it.
    """
    down, across = shape.height + GAP, shape.width + GAP
    rows, rest_down = divmod(grid.shape[0] + GAP, down)
    columns, rest_across = divmod(grid.shape[1] + GAP, across)
    if rest_down or rest_across or not (rows and columns):
        return None
    padded = np.pad(grid, ((0, GAP), (0, GAP), (0, 0)))
    cells = padded.reshape(rows, down, columns, across, 3).swapaxes(1, 2)
    return cells[:, :, : shape.height, : shape.width]


@dataclass(frozen=True)
class Captions:
    """Text around the images of a grid; each part may be empty.

    Attributes:
        title: a line above everything.
        columns: above each column.
        rows: left of each row.
        images: below each image.
    """

    title: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[str] = ()
    images: Sequence[str] = ()


def captions_for(names: Sequence[str], columns: int) -> Captions:
    """Return where to write the names of a grid's images so that each is written least often.

    That is once if all have the same name, at the columns if each column has one, else below each
    image.

    Args:
        names: the name of each image; empty if they have none.
        columns: the number of columns of the grid.
    """
    if not names:
        return Captions()
    if len(set(names)) == 1:
        return Captions(title=names[0])
    if all(name == names[i % columns] for i, name in enumerate(names)):
        return Captions(columns=names[:columns])
    return Captions(images=names)


def captioned_grid(images: UInt8Array, columns: int, scale: int, captions: Captions) -> UInt8Array:
    """Arrange images as `image_grid` does, with text in white margins.

    Names that are too long for their place take two lines and are then cut.

    Args:
        images: uint8 (num, H, W, C).
        columns: the number of columns.
        scale: how much to enlarge each image.
        captions: what to write.

    Returns:
        uint8 (H', W', 3).
    """
    down, across = (side * scale + GAP for side in images.shape[1:3])
    rows = math.ceil(len(images) / columns)
    heads = [wrapped(name, across - GAP, MAX_NAME_LINES) for name in captions.columns]
    sides = [wrapped(name, MAX_ROW_NAME, MAX_NAME_LINES) for name in captions.rows]
    below = [wrapped(name, across - GAP, MAX_NAME_LINES) for name in captions.images]
    margin = max((text_width(line) + 8 for lines in sides for line in lines), default=0)
    width = margin + columns * across - GAP
    title = wrapped(captions.title, width, MAX_NAME_LINES) if captions.title else []
    head = LINE_HEIGHT * (len(title) + max(map(len, heads), default=0))
    foot = LINE_HEIGHT * max(map(len, below), default=0)
    canvas = np.full((head + rows * (down + foot) - GAP, width, 3), 255, dtype=np.uint8)
    draw_lines(canvas, 0, 0, title)
    for column, lines in enumerate(heads):
        # The last line of each name is next to its column.
        draw_lines(canvas, margin + column * across, head - LINE_HEIGHT * len(lines), lines)
    for row in range(rows):
        top = head + row * (down + foot)
        strip = image_grid(images[row * columns : (row + 1) * columns], columns, scale)
        canvas[top : top + down - GAP, margin:] = strip
        if sides:
            draw_lines(canvas, 0, top + (down - LINE_HEIGHT * len(sides[row])) // 2, sides[row])
        for column, lines in enumerate(below[row * columns : (row + 1) * columns]):
            draw_lines(canvas, margin + column * across, top + down - GAP, lines)
    return canvas
