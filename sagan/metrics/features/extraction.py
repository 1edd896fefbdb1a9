"""From pictures to a file of features: in bounded memory, each process its share."""

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from accelerate import PartialState
from accelerate.utils import gather
from numpy.lib import format as npy
from torch import Tensor

from sagan.metrics.features.network import FeatureNetwork
from sagan.storage.fsync import append, flush, write
from sagan.types import Float32Array, NamedProgress, UInt8Array

# Pictures [start, stop) of a fixed order: uint8 (stop - start, S, S, 3).
Draw: TypeAlias = Callable[[int, int], UInt8Array]
# Called with what is being done, how much of it is done, and how much there is.

CHUNK = 256  # pictures that a process draws and extracts at a time: bounds memory
BLOCK = 4096  # rows of features that are float64 at a time: likewise

FEATURES, LOGITS = "features.npy", "logits.npy"


def silent(what: str, done: int, total: int) -> None:
    """Show no progress."""


def extract(
    network: FeatureNetwork,
    draw: Draw,
    num: int,
    folder: Path,
    processes: PartialState,
    what: str,
    progress: NamedProgress = silent,
    outputs: Sequence[str] = (FEATURES,),
) -> None:
    """Write features.npy, float32 (N, D), or logits.npy, (N, K), or both; every process calls it.

    Process r of W draws pictures r*CHUNK to (r+1)*CHUNK - 1 of every W*CHUNK; the main process
    gathers and writes them. A picture's features depend on that picture only, up to float32
    rounding (1e-5 of the largest): not on the batch, nor on the number of processes.

    Args:
        network: on the processes' device.
        draw: gives pictures by their numbers.
        num: N, how many there are.
        folder: where the main process writes; the others never look at it.
        processes: who takes part.
        what: what the pictures are, for `progress`.
        progress: called in the main process.
        outputs: which of the two.

    Raises:
        OSError: a file cannot be written, in the main process.
    """
    widths = {FEATURES: network.width, LOGITS: network.num_logits}
    files = {name: widths[name] for name in outputs}
    if processes.is_main_process:
        for name, columns in files.items():
            write(folder / name, _header(num, columns))
    stride = CHUNK * processes.num_processes
    for first in range(0, num, stride):
        start = min(first + CHUNK * processes.process_index, num)
        own = torch.zeros(CHUNK, sum(files.values()), device=processes.device)
        stop = min(start + CHUNK, num)
        if stop > start:
            images = torch.from_numpy(np.array(draw(start, stop))).to(processes.device)
            found = dict(zip(widths, network(images), strict=True))
            own[: stop - start] = torch.cat([found[name] for name in files], dim=1)
        # In order of the processes: rows first, first + 1, ... of all; the last ones are padding.
        rows: Tensor = gather(own)
        if processes.is_main_process:
            done = min(first + stride, num)
            parts = rows[: done - first].cpu().numpy()
            ends = np.cumsum(list(files.values()))[:-1]
            for name, part in zip(files, np.split(parts, ends, axis=1), strict=True):
                append(folder / name, part.astype("<f4").tobytes())
            progress(what, done, num)
    if processes.is_main_process:
        for name in files:
            flush(folder / name)


def _header(rows: int, columns: int) -> bytes:
    """What an .npy file of float32 (rows, columns) begins with."""
    header = BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
    npy.write_array_header_1_0(header, shape)
    return header.getvalue()


def map_array(path: Path, rows: int, columns: int) -> Float32Array:
    """Map one of the files, float32 (rows, columns).

    Raises:
        OSError: it is not there.
        ValueError: it is of another shape, or damaged.
    """
    # Not NumPy's reader, which parses the header as Python: of a damaged one it raises anything.
    header = _header(rows, columns)
    with path.open("rb") as file:
        begins = file.read(len(header))
    if begins != header or path.stat().st_size != len(header) + 4 * rows * columns:
        raise ValueError(f"{path} is not of {rows} rows of {columns} numbers")
    return np.memmap(path, "<f4", mode="r", offset=len(header), shape=(rows, columns))


def float64_blocks(features: Float32Array) -> Iterator[npt.NDArray[np.float64]]:
    """Features (N, D) in float64, `BLOCK` rows at a time."""
    for start in range(0, len(features), BLOCK):
        yield features[start : start + BLOCK].astype(np.float64)
