"""Many images in one."""

import math

import numpy as np

from sagan.types import UInt8Array


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


def enlarged(images: UInt8Array, factor: int) -> UInt8Array:
    """Enlarge each pixel to a square of side f: uint8 (num, S, S, 3) -> (num, fS, fS, 3)."""
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def image_grid(images: UInt8Array, columns: int) -> UInt8Array:
    """Arrange images row by row, 2 white pixels apart: uint8 (num, S, S, 3) -> (H, W, 3)."""
    num, size = images.shape[:2]
    rows, pitch = math.ceil(num / columns), size + 2
    grid = np.full((rows * pitch - 2, columns * pitch - 2, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * pitch, i % columns * pitch
        grid[top : top + size, left : left + size] = image
    return grid
