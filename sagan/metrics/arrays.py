"""Images in memory, NumPy arrays or tensors, as the sets of images that metrics compare."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sagan.data import PackedDataset
from sagan.data.packed import Fingerprint
from sagan.errors import SaganError
from sagan.types import Int64Array, UInt8Array

ValueRange: TypeAlias = tuple[float, float]  # of black and white
ImageArray: TypeAlias = npt.NDArray[Any] | Tensor  # (N, H, W, 3) or (N, 3, H, W)


def as_uint8(images: ImageArray, value_range: ValueRange | None = None) -> UInt8Array:
    """Return images as uint8 (N, H, W, 3), in 0..255.

    Args:
        images: (N, H, W, C) or (N, C, H, W) with C = 3, or 1 for gray; uint8, or of any
            floating-point type. A side of 1 or 3 pixels may make the order of axes ambiguous.
        value_range: the values of black and white in floating-point images, such as (-1, 1). They
            are rounded to the nearest of 256 levels.

    Raises:
        SaganError: the shape or the type is another, floating-point images come without their
            range, or values are not finite or outside the range.
    """
    array = images.detach().cpu() if isinstance(images, Tensor) else np.asarray(images)
    if array.ndim != 4 or not len(array):
        raise SaganError(
            f"images must have the shape (N, H, W, 3) or (N, 3, H, W), not {tuple(array.shape)}"
        )
    first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
    if first == last:
        raise SaganError(
            f"images of the shape {tuple(array.shape)} must have their 3 channels, or 1, either "
            "after N or at the end"
        )
    # NumPy has no bfloat16.
    if isinstance(array, Tensor):
        array = (array.float() if array.is_floating_point() else array).numpy()
    if first:
        array = np.moveaxis(array, 1, 3)
    if np.issubdtype(array.dtype, np.floating):
        array = _rounded(array, value_range)
    elif array.dtype != np.uint8:
        raise SaganError(f"images must be uint8 or floating-point, not {array.dtype}")
    return np.ascontiguousarray(array.repeat(3, axis=3) if array.shape[3] == 1 else array)


def _rounded(images: npt.NDArray[np.floating[Any]], value_range: ValueRange | None) -> UInt8Array:
    if value_range is None:
        raise SaganError(
            "floating-point images need value_range, the values of black and white: (-1, 1) for "
            "most generators, (0, 1) for torchvision's transforms"
        )
    black, white = value_range
    if not (np.isfinite([black, white]).all() and black < white):
        raise SaganError(f"value_range {value_range} must be two numbers, the smaller one first")
    low, high = float(images.min()), float(images.max())
    if not np.isfinite([low, high]).all():
        raise SaganError("images have values that are not finite")
    scale = 255 / (white - black)
    # Half a level is what rounding forgives.
    if low < black - 0.5 / scale or high > white + 0.5 / scale:
        raise SaganError(
            f"images have values from {low:.4g} to {high:.4g}, which value_range ({black:g}, "
            f"{white:g}) does not contain: give another range, or clamp them"
        )
    levels = np.rint((images.astype(np.float32) - black) * scale).clip(0, 255)
    rounded: UInt8Array = levels.astype(np.uint8)
    return rounded


def as_labels(labels: Any, num: int) -> Int64Array:
    """Return the labels of `num` images as int64 (num,).

    Raises:
        SaganError: they are not `num` whole numbers from 0 on.
    """
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.shape != (num,) or not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
        raise SaganError(
            f"labels must be one whole number from 0 on for each of the {num:,} images, not "
            f"{array.dtype} {array.shape}"
        )
    return array.astype(np.int64)


class DatasetInMemory(PackedDataset):
    """Images that are in no folder, and that nobody will ask for again."""


def dataset_in_memory(
    images: ImageArray, labels: Any = None, value_range: ValueRange | None = None
) -> DatasetInMemory:
    """Return images, and labels if there are any, as a data set that is in no folder.

    Args:
        images: as for `as_uint8`.
        labels: int (N,), or None; their classes are called "0", "1" ...
        value_range: as for `as_uint8`.

    Raises:
        SaganError: as `as_uint8` and `as_labels`.
    """
    pixels = as_uint8(images, value_range)
    return dataset_of_pixels(pixels, as_labels(labels, len(pixels)) if labels is not None else None)


def dataset_of_pixels(pixels: UInt8Array, numbers: Int64Array | None) -> DatasetInMemory:
    """Return images uint8 (N, H, W, C), and labels int64 (N,), as a data set in no folder."""
    num_classes = int(numbers.max()) + 1 if numbers is not None else 0
    classes = tuple(map(str, range(num_classes)))
    fingerprint = Fingerprint()
    fingerprint.update(pixels)
    return DatasetInMemory(
        pixels, numbers, classes, fingerprint.close(pixels.shape, numbers, classes), Path(),
        "images in memory", "train", "crop",
    )  # fmt: skip


def with_classes(dataset: DatasetInMemory, classes: tuple[str, ...]) -> DatasetInMemory:
    """Return a data set in memory with these names for its labels, if it has any.

    Raises:
        SaganError: a label has no name.
    """
    if dataset.labels is None:
        return dataset
    if dataset.num_classes > len(classes):
        raise SaganError(
            f"the label {dataset.num_classes - 1} of an image in memory has no class: the real "
            f"images have {len(classes)}"
        )
    return replace(dataset, classes=classes)
