"""Many images in one, with names at them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sagan.images.lettering import LINE_HEIGHT, draw_lines, text_width, wrapped
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


def visible_scale(size: int, num: int) -> int:
    """Return how much to enlarge `num` images of `size` pixels, for people to see them well.

    It is the smallest whole factor that gives them `VISIBLE_SIDE` pixels, or less where all
    together would have more than `MAX_ENLARGED_PIXELS`.
    """
    most = math.isqrt(MAX_ENLARGED_PIXELS // (num * size**2))
    return max(1, min(math.ceil(VISIBLE_SIDE / size), most))


def enlarged(image: UInt8Array, factor: int) -> UInt8Array:
    """Enlarge each pixel to a square of side f: uint8 (H, W, 3) -> (fH, fW, 3)."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def image_grid(images: UInt8Array, columns: int, scale: int = 1) -> UInt8Array:
    """Arrange images row by row, `GAP` white pixels apart: uint8 (num, S, S, 3) -> (H, W, 3).

    Each pixel of an image becomes a square of `scale` pixels.
    """
    num, side = len(images), images.shape[1] * scale
    rows, pitch = math.ceil(num / columns), side + GAP
    grid = np.full((rows * pitch - GAP, columns * pitch - GAP, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * pitch, i % columns * pitch
        grid[top : top + side, left : left + side] = enlarged(image, scale)
    return grid


def split_grid(grid: UInt8Array, size: int) -> UInt8Array | None:
    """Take a grid of scale 1 apart: (H, W, 3) -> uint8 (rows, columns, S, S, 3).

    Returns:
        A view of the grid; None if images of `size` pixels do not fit into it.
    """
    pitch = size + GAP
    (rows, no_rest), (columns, no_rest_either) = (divmod(n + GAP, pitch) for n in grid.shape[:2])
    if no_rest or no_rest_either or not (rows and columns):
        return None
    padded = np.pad(grid, ((0, GAP), (0, GAP), (0, 0)))
    cells = padded.reshape(rows, pitch, columns, pitch, 3).swapaxes(1, 2)
    return cells[:, :, :size, :size]


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
        images: uint8 (num, S, S, 3).
        columns: the number of columns.
        scale: how much to enlarge each image.
        captions: what to write.

    Returns:
        uint8 (H, W, 3).
    """
    pitch = images.shape[1] * scale + GAP
    rows = math.ceil(len(images) / columns)
    heads = [wrapped(name, pitch - GAP, MAX_NAME_LINES) for name in captions.columns]
    sides = [wrapped(name, MAX_ROW_NAME, MAX_NAME_LINES) for name in captions.rows]
    below = [wrapped(name, pitch - GAP, MAX_NAME_LINES) for name in captions.images]
    margin = max((text_width(line) + 8 for lines in sides for line in lines), default=0)
    width = margin + columns * pitch - GAP
    title = wrapped(captions.title, width, MAX_NAME_LINES) if captions.title else []
    head = LINE_HEIGHT * (len(title) + max(map(len, heads), default=0))
    foot = LINE_HEIGHT * max(map(len, below), default=0)
    canvas = np.full((head + rows * (pitch + foot) - GAP, width, 3), 255, dtype=np.uint8)
    draw_lines(canvas, 0, 0, title)
    for column, lines in enumerate(heads):
        # The last line of each name is next to its column.
        draw_lines(canvas, margin + column * pitch, head - LINE_HEIGHT * len(lines), lines)
    for row in range(rows):
        top = head + row * (pitch + foot)
        strip = image_grid(images[row * columns : (row + 1) * columns], columns, scale)
        canvas[top : top + pitch - GAP, margin:] = strip
        if sides:
            draw_lines(canvas, 0, top + (pitch - LINE_HEIGHT * len(sides[row])) // 2, sides[row])
        for column, lines in enumerate(below[row * columns : (row + 1) * columns]):
            draw_lines(canvas, margin + column * pitch, top + pitch - GAP, lines)
    return canvas
