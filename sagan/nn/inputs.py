"""What goes into a generator: latents and labels, and the checks on them."""

import math

import numpy as np
import torch
from torch import Tensor

from sagan.errors import SaganError


def seeded_latents(num: int, size: int, seed: int) -> Tensor:
    """Standard normal latents, float32 (num, size), a function of the arguments (and of numpy's
    way from random bits to normal numbers, which has been the same since numpy 1.17).

    Row i depends on `seed` and i only, so that asking for more samples, or in other batches,
    leaves the first ones as they were.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    return torch.from_numpy(rng.standard_normal((num, size), dtype=np.float32))


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
