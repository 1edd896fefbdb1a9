"""Files written by `torch.save`, read without running any code in them."""

import pickletools
import re
import zipfile
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sagan.errors import SaganError, UnreadableError
from sagan.runtime.memory import check_memory
from sagan.storage.files import open_file

StateDict: TypeAlias = dict[str, Tensor]

# In a file of the format before zips: magic number, protocol, system, content, keys.
OLD_PICKLES = 5
# A network of 1,000 tensors has 35,000. Each takes about 80 bytes of memory at most.
MAX_OPERATIONS = 1_000_000


def read_torch_file(path: Path) -> Any:
    """Read what `torch.save` wrote: tensors, numbers, texts, and containers of them.

    Tensors in it are not checked yet: see `checked_state_dict`.

    Raises:
        SaganError: the file cannot be read, was not written by `torch.save`, contains objects of
            other classes, or would take more memory than `sagan.runtime.memory` allows.
    """
    try:
        with open_file(path) as file:
            if zipfile.is_zipfile(file):  # its entries may be compressed a thousand times
                with zipfile.ZipFile(file) as archive:
                    size = sum(entry.file_size for entry in archive.infolist())
                    check_memory(size, str(path), "its weights")
                    for entry in archive.infolist():
                        if entry.filename.endswith(".pkl"):
                            _check_pickles(archive.open(entry), 1)
            else:
                file.seek(0)
                _check_pickles(file, OLD_PICKLES)
            file.seek(0)
            with _numpy_scalars():
                return torch.load(file, map_location="cpu", weights_only=True)
    except SaganError:
        raise
    except UnreadableError as error:
        raise SaganError(f"cannot read '{path}': {error}") from None
    except Exception as error:  # the file is untrusted, and the reader may raise anything
        raise SaganError(f"'{path}' does not contain weights: {_reason(error)}") from None


def _check_pickles(file: IO[bytes], num: int) -> None:
    """Refuse pickles with more operations than any weights need, as each may make an object.

    Raises:
        UnreadableError: they have more.
    """
    operations = chain.from_iterable(pickletools.genops(file) for _ in range(num))
    if next(islice(operations, MAX_OPERATIONS, None), None) is not None:
        raise UnreadableError(f"its pickle has more than {MAX_OPERATIONS:,} operations")


def _numpy_scalars() -> AbstractContextManager[None]:
    """Allow NumPy's numbers, such as the best FID so far in the checkpoints of other projects."""
    scalar = np.float64(0).__reduce__()[0]
    number_types = [type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"]
    names = [(scalar, f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")]
    return torch.serialization.safe_globals([*names, np.dtype, *number_types])


def _reason(error: Exception) -> str:
    message = str(error)
    forbidden = re.search(r"GLOBAL (\S+)", message)
    if forbidden:
        return f"it has an object of class {forbidden[1]}, which could run code"
    if not message or "weights_only" in message:  # torch recommends to read it unsafely
        return "torch.save did not write it, or it is damaged"
    return message.splitlines()[0]


def read_state_dict(path: Path) -> StateDict:
    """Read named tensors from a file written by `torch.save`, without running any code in it.

    Raises:
        SaganError: the file does not contain a dictionary of tensors.
    """
    return checked_state_dict(read_torch_file(path), str(path))


def checked_state_dict(content: object, origin: str) -> StateDict:
    """Return `content` if it is a dictionary of ordinary tensors.

    Raises:
        SaganError: it is not, or the tensors would take more memory than `sagan.runtime.memory`
            allows: a file of a few bytes can describe one of any size.
    """
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise SaganError(f"'{origin}' does not contain weights: it is not a dictionary of tensors")
    for name, tensor in content.items():
        ordinary = tensor.layout == torch.strided and not tensor.is_quantized
        if not ordinary or tensor.device.type != "cpu":
            raise SaganError(f"'{origin}' does not contain weights: {name} is not a plain tensor")
    size = sum(tensor.numel() * tensor.element_size() for tensor in content.values())
    check_memory(size, origin, "its weights")
    return content
