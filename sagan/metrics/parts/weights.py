"""The trained reader of faces' parts, inside this package."""

import functools
from pathlib import Path

from safetensors import safe_open

from sagan.errors import SaganError
from sagan.metrics.parts.pieces import PartsTable
from sagan.metrics.parts.reader import PartsReader
from sagan.storage.files import sha256_of
from sagan.storage.torch_files import StateDict

SHA256 = "c49605c8ed673c8814718eb0a88fcbe05fd3a614c4b10d4810813927e2b2fbe8"
WEIGHTS = Path(__file__).with_name("avatar-parts.safetensors")  # float16


@functools.cache
def read_table() -> PartsTable:
    """Return what the reader can read.

    Raises:
        SaganError: the file of its weights is damaged.
    """
    return _open(WEIGHTS)[0]


def open_reader() -> PartsReader:
    """Load the reader with its weights, in evaluation mode.

    Raises:
        SaganError: the file of its weights is damaged.
    """
    table, tensors = _open(WEIGHTS)
    reader = PartsReader(table)
    reader.load_state_dict(tensors)  # float16 becomes float32
    return reader.eval().requires_grad_(False)


def _open(path: Path) -> tuple[PartsTable, StateDict]:
    if not path.is_file() or sha256_of(path) != SHA256:
        raise SaganError(f"'{path}' is damaged: install torch-sagan again")
    with safe_open(path, "pt") as file:
        table = PartsTable.model_validate_json(file.metadata()["table"])
        return table, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
