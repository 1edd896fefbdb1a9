"""A reader for CIFAR's pickles that can make nothing but plain values and uint8 arrays.

A pickle is a program: it names classes and functions and calls them. CIFAR's pickles name three of
NumPy's. Here, each of these names means a class of ours instead, which checks what the real one
would be given. No other name can be reached, and NumPy never acts on what a pickle says.

The unpickler is the one written in Python, not the faster one in C: a few bytes (a large number for
a place in its memo) can make the latter ask for all of the machine's memory.
"""

import io
import math
import pickle
from typing import Any

import numpy as np

from sagan.types import UInt8Array

_RECONSTRUCT = {"numpy.core.multiarray", "numpy._core.multiarray"}


def read_pickle(data: bytes) -> dict[str, Any]:
    """Read a pickled dictionary of lists, strings, numbers and arrays; bytes become strings.

    Arrays come out as uint8, of any shape.

    Raises:
        ValueError: it is damaged, or asks for anything else.
    """
    try:
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:
        # A hostile pickle makes the unpickler trip over anything at all.
        raise ValueError(str(error) or type(error).__name__) from None
    if not isinstance(content, dict):
        raise ValueError(f"it contains a {type(content).__name__}, not a dictionary")
    return {_text(key): _plain(value) for key, value in content.items()}


class _Array:
    """Stands for numpy.ndarray."""

    def __init__(self, *arguments: object) -> None:
        self.value: UInt8Array | None = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (1, tuple() as shape, _DType(), False, bytes() as data):
                if not all(type(length) is int and length >= 0 for length in shape):
                    raise ValueError("an array has an impossible shape")
                if math.prod(shape) != len(data):
                    raise ValueError("an array's number of bytes does not fit its shape")
                self.value = np.frombuffer(data, dtype=np.uint8).reshape(shape)
            case _:
                raise ValueError("it has an array that does not consist of bytes")


class _DType:
    """Stands for numpy.dtype."""

    def __init__(self, name: object, *arguments: object) -> None:
        if name not in ("u1", b"u1", "|u1", b"|u1"):
            raise ValueError(f"it has an array of {str(name)[:20]}, not of uint8")

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and fields, which uint8 does not have."""


class _Reconstruct(_Array):
    """Stands for NumPy's function that makes an empty array."""


class _Latin1(bytes):
    """Stands for _codecs.encode, with which Python 3 writes bytes that Python 2 can read."""

    def __new__(cls, text: str, encoding: str) -> "_Latin1":
        if encoding != "latin1":
            raise ValueError(f"it asks for the encoding {str(encoding)[:20]}")
        return super().__new__(cls, text, "latin1")

    def __setstate__(self, state: object) -> None:
        raise ValueError("it changes bytes")


class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if module in _RECONSTRUCT and name == "_reconstruct":
            return _Reconstruct
        known = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _DType,
            ("_codecs", "encode"): _Latin1,
        }
        if (module, name) not in known:
            raise ValueError(f"it asks for {module}.{name}, and only arrays are allowed")
        return known[module, name]


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _plain(value: object) -> object:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, list):
        return [v.decode("latin1") if isinstance(v, bytes) else v for v in value]
    return value
