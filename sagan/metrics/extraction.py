"""From pictures to a file of features: in bounded memory, each process its share."""

from collections.abc import Callable, Iterator
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

from sagan.durability import append, flush, write
from sagan.metrics.features import FeatureNetwork
from sagan.pixels import UInt8Array

FloatArray: TypeAlias = npt.NDArray[np.float32]
# Pictures [start, stop) of a fixed order: uint8 (stop - start, S, S, 3).
Draw: TypeAlias = Callable[[int, int], UInt8Array]
# Called with what is being done, how much of it is done, and how much there is.
Progress: TypeAlias = Callable[[str, int, int], None]

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
    progress: Progress = silent,
) -> None:
    """Write features.npy, float32 (N, D), and logits.npy, (N, K); every process calls it.

    Process r of W draws pictures r*CHUNK to (r+1)*CHUNK - 1 of every W*CHUNK; the main process
    gathers and writes them. A picture's features depend on that picture only, up to float32
    rounding (1e-5 of the largest): not on the batch, nor on the number of processes.

    Args:
        network: on the processes' device.
        draw: gives pictures by their numbers.
        num: N, how many there are.
        folder: where the main process writes; the others never look at it.
        processes: who takes part.
        what: what the pictures are, for ``progress``.
        progress: called in the main process.

    Raises:
        OSError: a file cannot be written, in the main process.
    """
    files = {FEATURES: network.width, LOGITS: network.num_logits}
    if processes.is_main_process:
        for name, columns in files.items():
            write(folder / name, _header(num, columns))
    stride = CHUNK * processes.num_processes
    for first in range(0, num, stride):
        start = min(first + CHUNK * processes.process_index, num)
        own = _own_share(network, draw, start, min(start + CHUNK, num), processes.device)
        # In order of the processes: rows first, first + 1, ... of all; the last ones are padding.
        rows: Tensor = gather(own)
        if processes.is_main_process:
            done = min(first + stride, num)
            parts = rows[: done - first].cpu().numpy()
            for name, part in zip(files, np.split(parts, [network.width], axis=1), strict=True):
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


def _own_share(
    network: FeatureNetwork, draw: Draw, start: int, stop: int, device: torch.device
) -> Tensor:
    """Features beside logits, (CHUNK, D + K), zero where there are no pictures."""
    rows = torch.zeros(CHUNK, network.width + network.num_logits, device=device)
    if stop > start:
        images = torch.from_numpy(np.array(draw(start, stop))).to(device)
        rows[: stop - start] = torch.cat(network(images), dim=1)
    return rows


def map_array(path: Path) -> FloatArray:
    """Map one of the files.

    Raises:
        OSError, ValueError: it is not there, or is damaged.
    """
    mapped: FloatArray = npy.open_memmap(path, mode="r")
    return mapped


def float64_blocks(
    features: FloatArray, rows: int | None = None
) -> Iterator[npt.NDArray[np.float64]]:
    """Features (N, D) in float64, ``rows`` of them at a time, or `BLOCK`."""
    rows = rows or BLOCK
    for start in range(0, len(features), rows):
        yield features[start : start + rows].astype(np.float64)
