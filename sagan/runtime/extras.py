"""The optional libraries that parts of the package need, by the extra that installs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from sagan.errors import SaganError


@dataclass(frozen=True)
class Extra:
    """Libraries that are installed together.

    Attributes:
        name: as in pyproject.toml.
        purpose: what needs them, for messages.
        libraries: the names that they are imported by.
    """

    name: str
    purpose: str
    libraries: tuple[str, ...]

    @property
    def command(self) -> str:
        """How to install them."""
        return f"pip install '.[{self.name}]' in the checkout"


METRICS = Extra(
    "metrics",
    "evaluation",
    ("torch_fidelity", "timm", "sklearn", "scipy", "threadpoolctl"),
)
HUB = Extra("hub", "reading the hub, parquet, arrow and webdataset files", ("datasets",))
HEIC = Extra("heic", "reading HEIC", ("pillow_heif",))
ONNX = Extra("onnx", "exporting to ONNX", ("onnx", "onnxscript", "onnxruntime"))
CLUSTER = Extra("cluster", "running a study on a cluster", ("submitit",))
REMOTE = Extra("remote", "reading a packed set from a URL", ("fsspec",))

INSTALL = METRICS.command


def libraries_installed(extra: Extra = METRICS) -> bool:
    """Return whether all of an extra's libraries are installed, without importing any."""
    return all(find_spec(name) is not None for name in extra.libraries)


@contextmanager
def report_missing_library(extra: Extra = METRICS) -> Iterator[None]:
    """Say in one line how to install one of an extra's libraries if its import fails.

    Raises:
        SaganError: an import within the context failed because one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] not in extra.libraries:
            raise
        raise SaganError(
            f"{extra.purpose} needs the library '{error.name}': {extra.command}"
        ) from None
