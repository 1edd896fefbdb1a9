"""The inputs of a generator: latents, labels and the checks on them."""

import math

import numpy as np
import torch
from torch import Tensor

from sagan.errors import SaganError


def seeded_latents(num: int, size: int, seed: int) -> Tensor:
    """Return standard normal latents, float32 (num, size), a function of the arguments.

    Row i depends only on `seed` and i, so that more samples, or other batches, do not change the
    first ones. The numbers also depend on how numpy turns random bits into normal numbers, which
    has not changed since numpy 1.17.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    return torch.from_numpy(rng.standard_normal((num, size), dtype=np.float32))


def check_truncation(truncation: float) -> None:
    """Check that truncation is finite and not negative.

    Raises:
        SaganError: it is not.
    """
    if not 0 <= truncation < math.inf:
        raise SaganError(f"truncation must be finite and at least 0, not {truncation}")


def check_labels(labels: Tensor | None, num: int, num_classes: int) -> None:
    """Check that a model gets the labels it needs.

    Args:
        labels: integers (num,) from 0 to num_classes - 1 for a conditional model, else None.
        num: number of images.
        num_classes: number of labels that the model knows; 0 for an unconditional model.

    Raises:
        SaganError: labels are missing, superfluous, not integers, out of range or not `num`.
    """
    if num_classes == 0:
        if labels is not None:
            raise SaganError("the model is unconditional: leave the labels out")
        return
    if labels is None:
        raise SaganError(f"the model is conditional: give labels from 0 to {num_classes - 1}")
    if labels.shape != (num,):
        raise SaganError(f"{num} images need labels of shape ({num},), not {tuple(labels.shape)}")
    if num == 0:
        return  # as a tensor, an empty list is of floats
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise SaganError(f"labels must be integers from 0 to {num_classes - 1}, not {labels.dtype}")
    numbers = labels.tolist()  # torch has no min and max for unsigned integers
    lowest, highest = min(numbers), max(numbers)
    if not 0 <= lowest <= highest < num_classes:
        raise SaganError(f"labels must be from 0 to {num_classes - 1}, not {lowest} to {highest}")
