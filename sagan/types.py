"""Types of NumPy arrays, by what they hold."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

UInt8Array: TypeAlias = npt.NDArray[np.uint8]  # images (num, S, S, 3) or (H, W, 3), RGB in 0..255
Int64Array: TypeAlias = npt.NDArray[np.int64]  # labels, row numbers
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Float32Array: TypeAlias = npt.NDArray[np.float32]  # features, attention maps
Float64Array: TypeAlias = npt.NDArray[np.float64]  # statistics
FloatArray: TypeAlias = npt.NDArray[np.floating]  # of any precision
