"""What goes into a generator, seeded latents and labels, and how what comes out is arranged."""

import math

import numpy as np
import torch
from torch import Tensor

from sagan.errors import SaganError
from sagan.pixels import UInt8Array


def seeded_latents(num: int, size: int, seed: int) -> Tensor:
    """Standard normal latents, float32 (num, size), a function of the arguments (and of numpy's
    way from random bits to normal numbers, which has been the same since numpy 1.17).

    Row i depends on ``seed`` and i only, so that asking for more samples, or in other batches,
    leaves the first ones as they were.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    return torch.from_numpy(generator.standard_normal((num, size), dtype=np.float32))


def spherical_interpolation(start: Tensor, end: Tensor, num: int) -> Tensor:
    """``num`` latents (num, size) from ``start`` to ``end`` (size,) at an even angle.

    A straight line would pass through latents of untypically small norm (White 2016,
    arXiv 1609.04468); norms are interpolated linearly instead.
    """
    share = torch.linspace(0, 1, num).unsqueeze(1)  # (num, 1)
    start_unit, end_unit = start / start.norm(), end / end.norm()
    angle = torch.acos((start_unit @ end_unit).clamp(-1 + 1e-6, 1 - 1e-6))
    direction = torch.sin((1 - share) * angle) * start_unit + torch.sin(share * angle) * end_unit
    norm = torch.lerp(start.norm(), end.norm(), share)
    return norm * direction / torch.sin(angle)


def check_truncation(truncation: float) -> None:
    """Insist on a finite number from 0 on.

    Raises:
        SaganError: it is none.
    """
    if not 0 <= truncation < math.inf:
        raise SaganError(f"truncation is a number from 0 on, not {truncation}")


def check_labels(labels: Tensor | None, num: int, num_classes: int) -> None:
    """Insist that integer labels (num,) in 0..num_classes-1 come with a conditional model only.

    Raises:
        SaganError: labels missing, superfluous, no integers, of another number or out of range.
    """
    if num_classes == 0:
        if labels is not None:
            raise SaganError("labels were given to an unconditional model: leave them out")
        return
    if labels is None:
        raise SaganError(f"the model is conditional: give labels from 0 to {num_classes - 1}")
    if labels.shape != (num,):
        raise SaganError(f"{num} images need as many labels, not {tuple(labels.shape)}")
    if num == 0:
        return  # an empty list is a float tensor
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise SaganError(f"labels are integers from 0 to {num_classes - 1}, not {labels.dtype}")
    numbers = labels.tolist()  # of Python: torch finds no extremes of unsigned ones
    lowest, highest = min(numbers), max(numbers)
    if not 0 <= lowest <= highest < num_classes:
        raise SaganError(f"labels go from 0 to {num_classes - 1}, not {lowest} to {highest}")


def grid_labels(num: int, num_classes: int) -> list[int] | None:
    """Labels for ``num`` images, the classes in turn; None for an unconditional model.

    Image i has the same one however many there are.
    """
    return [i % num_classes for i in range(num)] if num_classes else None


def grid_columns(num: int, turns: int) -> int:
    """How many images a row of a grid has: near square, and a class per column where that fits.

    Args:
        num: images.
        turns: after how many images the first class comes again; 0 without classes.
    """
    side = math.sqrt(num)
    if 2 <= turns <= 16:
        return min(num, turns * max(1, round(side / turns)))
    return min(num, math.ceil(side))


def enlarged(images: UInt8Array, factor: int) -> UInt8Array:
    """Each pixel as a square of ``factor``: uint8 (num, S, S, 3) -> (num, fS, fS, 3)."""
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def image_grid(images: UInt8Array, columns: int) -> UInt8Array:
    """Arrange pictures row by row, 2 white pixels apart: uint8 (num, S, S, 3) -> (H, W, 3)."""
    num, size = images.shape[:2]
    rows, pitch = math.ceil(num / columns), size + 2
    grid = np.full((rows * pitch - 2, columns * pitch - 2, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * pitch, i % columns * pitch
        grid[top : top + size, left : left + size] = image
    return grid
