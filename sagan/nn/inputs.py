"""The inputs of networks and of their constructors: latents, and the checks on all of them.

Checks of a forward pass read shapes and dtypes, never values: they do not wait for the device.
"""

from collections.abc import Iterable
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from sagan.errors import SaganError
from sagan.images.shape import ImageShape
from sagan.nn.channels import check_layout
from sagan.nn.spectral_norm import check_spectral_spec

MAX_TRUNCATION = 100.0  # far beyond any use; networks saturate long before
MAX_LATENT = 1000.0


def seeded_latents(num: int, size: int, seed: int) -> Tensor:
    """Return standard normal latents, float32 (num, size), a function of the arguments.

    Row i depends only on `seed` and i, so that more samples, or other batches, do not change the
    first ones. The numbers also depend on how numpy turns random bits into normal numbers, which
    has not changed since numpy 1.17.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    return torch.from_numpy(rng.standard_normal((num, size), dtype=np.float32))


def check_truncation(truncation: float) -> None:
    """Check that truncation is from 0 to `MAX_TRUNCATION`.

    Raises:
        SaganError: it is not.
    """
    if not 0 <= truncation <= MAX_TRUNCATION:
        raise SaganError(f"truncation must be from 0 to {MAX_TRUNCATION:g}, not {truncation}")


def given_latents(latents: object, num: int, size: int) -> Tensor:
    """Return somebody's latents as a float32 tensor (num, size), on the device they are on.

    Args:
        latents: real numbers (num, size), at most `MAX_LATENT` in size: a tensor, a NumPy array or
            nested lists.
        num: how many there must be.
        size: length of each.

    Raises:
        ValueError: they have another shape or dtype, or are not finite or too large.
    """
    try:
        # Arrays are copied, since torch warns about those that are read-only.
        tensor = latents if isinstance(latents, Tensor) else torch.from_numpy(np.array(latents))
    except TypeError:
        raise ValueError("latents must be real numbers") from None
    if tensor.shape != (num, size):
        raise ValueError(f"latents must have shape {(num, size)}, not {tuple(tensor.shape)}")
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"latents must be real numbers, not {tensor.dtype}")
    tensor = tensor.to(torch.float32)
    if not (tensor.abs() <= MAX_LATENT).all():  # NaN is not
        raise ValueError(f"latents must be finite and from {-MAX_LATENT:g} to {MAX_LATENT:g}")
    return tensor


def given_labels(labels: object, classes: tuple[str, ...]) -> Tensor | None:
    """Return somebody's labels as a tensor, in which names of classes became their numbers.

    Shape and range are left to `check_labels`.

    Args:
        labels: None, or integers or names: a tensor, a NumPy array or a sequence.
        classes: the names that the model knows, in the order of their labels.

    Raises:
        SaganError: a name is unknown, or the labels are a single name.
    """
    if labels is None:
        return None
    if isinstance(labels, str):
        raise SaganError(f"give one label for each image, as [{labels!r}], not {labels!r}")
    if isinstance(labels, Tensor):
        return labels
    if isinstance(labels, Iterable):
        labels = [_label_of(each, classes) if isinstance(each, str) else each for each in labels]
    try:
        return torch.from_numpy(np.array(labels))
    except (TypeError, ValueError, RuntimeError):
        raise SaganError("labels must be integers or names of classes") from None


def _label_of(name: str, classes: tuple[str, ...]) -> int:
    if name in classes:
        return classes.index(name)
    known = ", ".join(classes) if classes else "unknown: give numbers"
    raise SaganError(f"no class {name!r}: the names of this model's classes are {known}")


def check_forward_latents(latents: Tensor, size: int) -> None:
    """Check the latents of a forward pass: floating-point (B, size).

    Raises:
        ValueError: they have another shape or dtype.
    """
    if latents.dim() != 2 or latents.shape[1] != size or not latents.is_floating_point():
        raise ValueError(f"latents must be floats of shape (B, {size}), not {_described(latents)}")


def check_forward_images(images: Tensor, shape: ImageShape) -> None:
    """Check the images of a forward pass: floating-point (B, C, H, W), for a shape (H, W, C).

    Raises:
        ValueError: they have another shape or dtype.
    """
    expected = (shape.channels, shape.height, shape.width)
    if images.dim() != 4 or images.shape[1:] != expected or not images.is_floating_point():
        raise ValueError(
            f"images must be floats of shape (B, {', '.join(map(str, expected))}) in [-1, 1], "
            f"not {_described(images)}"
        )


def check_forward_labels(labels: Tensor | None, batch: Tensor, num_classes: int) -> None:
    """Check the labels of a forward pass, but not their range: embeddings do.

    Args:
        labels: int64 or int32 (B,) for a conditional network, else None.
        batch: the latents or images, (B, ...).
        num_classes: number of labels; 0 for an unconditional network.

    Raises:
        ValueError: labels are missing, superfluous, or of another shape or dtype.
    """
    if num_classes == 0:
        if labels is not None:
            raise ValueError("this network is unconditional: leave the labels out")
        return
    if labels is None:
        raise ValueError(
            f"this network is conditional: give labels (B,) from 0 to {num_classes - 1}"
        )
    if labels.shape != batch.shape[:1] or labels.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"labels must be int64 of shape ({batch.shape[0]},), one for each row of the batch "
            f"{tuple(batch.shape)}, not {_described(labels)}"
        )


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def check_whole(least: int = 1, **numbers: object) -> None:
    """Check the arguments of a constructor that count something.

    Args:
        least: their lower bound.
        numbers: the arguments by name.

    Raises:
        TypeError: one is not a whole number.
        ValueError: one is below the bound.
    """
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, Integral):
            raise TypeError(f"{name} must be a whole number, not {number!r}")
        if number < least:
            raise ValueError(f"{name} must be at least {least}, not {number}")


def check_initializer(initializer: object) -> None:
    """Check that an initializer can be called.

    Raises:
        TypeError: it cannot.
    """
    if not callable(initializer):
        raise TypeError(
            "initializer must be a function that sets a weight in place, such as "
            f"torch.nn.init.orthogonal_, not {initializer!r}"
        )


def check_network_arguments(
    family: str,
    shape: ImageShape,
    width: int,
    num_classes: int,
    spectral_norm: object,
    initializer: object,
) -> None:
    """Check the arguments that all residual and projected networks have in common.

    Raises:
        ValueError: the shape has no layout, or a number is too small.
        TypeError: an argument is of another type.
    """
    check_layout(family, shape)
    check_whole(width=width)
    check_whole(0, num_classes=num_classes)
    check_spectral_spec(spectral_norm)
    check_initializer(initializer)


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
