"""Types of NumPy arrays, and of callbacks that report progress."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

UInt8Array: TypeAlias = npt.NDArray[np.uint8]  # images (num, H, W, C) or (H, W, C), in 0..255
Int64Array: TypeAlias = npt.NDArray[np.int64]  # labels, row numbers
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Float32Array: TypeAlias = npt.NDArray[np.float32]  # features, attention maps
Float64Array: TypeAlias = npt.NDArray[np.float64]  # statistics
StrArray: TypeAlias = npt.NDArray[np.str_]  # names of classes
FloatArray: TypeAlias = npt.NDArray[np.floating]  # of any precision
Rows: TypeAlias = int | slice | Int64Array  # which images of many


class ImageRows(Protocol):
    """Images uint8 (N, H, W, C): an array, or what reads them from a disk when it is indexed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> UInt8Array: ...


Notify: TypeAlias = Callable[[str], None]  # called with one line for the user
Progress: TypeAlias = Callable[[int, int | None], None]  # (done, in all), None if unknown
NamedProgress: TypeAlias = Callable[[str, int, int], None]  # (what is being done, done, in all)
