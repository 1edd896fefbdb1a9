"""The .npy files of a packed set: written in pieces, and mapped only after a check."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from sagan.errors import SaganError
from sagan.images.shape import ImageShape
from sagan.types import UInt8Array


def damaged(place: Path | str, what: str) -> SaganError:
    """Return the error that says how a packed set, named by its folder or URL, is damaged."""
    one_line = " ".join(what.split())
    return SaganError(f"the packed data set '{place}' is damaged: {one_line}; pack it again")


def map_npy(path: Path) -> npt.NDArray[Any]:
    """Map a packed set's file into memory.

    Raises:
        SaganError: it is missing, a link, or not an .npy file of plain numbers.
    """
    # Mapped, not read, so that a header that promises terabytes costs nothing and fails.
    if path.is_symlink():  # a folder may come from anyone: what is read must not lie elsewhere
        raise damaged(path.parent, f"{path.name} is a link")
    if not path.is_file():
        raise damaged(path.parent, f"{path.name} is missing")
    try:
        return npy.open_memmap(path, mode="r")  # refuses pickled objects and anything but .npy
    except Exception as error:  # the header is parsed as Python, which can raise anything
        raise damaged(path.parent, f"{path.name} cannot be mapped: {error}") from None


def map_images(path: Path, shape: tuple[int, ...]) -> UInt8Array:
    """Map a file of images, which must be uint8 of this shape (N, H, W, C).

    Raises:
        SaganError: as `map_npy`, or it contains something else.
    """
    images = map_npy(path)
    if images.dtype != np.uint8 or images.shape != shape or not images.flags.c_contiguous:
        raise damaged(
            path.parent, f"{path.name} is {images.dtype} {images.shape}, not uint8 {shape}"
        )
    return images


@contextlib.contextmanager
def synced(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing; at the end, wait until it is on the disk."""
    with path.open("wb", buffering=1024**2) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_rows(file: BinaryIO, chunks: Iterator[UInt8Array], shape: ImageShape) -> int:
    """Write an .npy file of all images, uint8 (n, H, W, C); return how many there are.

    The number stands in the header at the start of the file, but is known only at the end. NumPy
    leaves room in the header for any number of rows, so that it can be written over.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (0, *shape)}
    npy.write_array_header_1_0(file, header)
    start, num = file.tell(), 0
    for images in chunks:
        file.write(images.data)
        num += len(images)
    file.seek(0)
    npy.write_array_header_1_0(file, {**header, "shape": (num, *shape)})
    if file.tell() != start:
        raise RuntimeError("NumPy wrote two .npy headers of different lengths")
    return num
