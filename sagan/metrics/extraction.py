"""From pictures to a file of features: in bounded memory, each process its share."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from accelerate import PartialState
from accelerate.utils import gather
from torch import Tensor

from sagan.metrics.features import FeatureNetwork
from sagan.pixels import UInt8Array

FloatArray: TypeAlias = npt.NDArray[np.float32]
# Pictures [start, stop) of a fixed order: uint8 (stop - start, S, S, 3).
Draw: TypeAlias = Callable[[int, int], UInt8Array]
# Called with what is being done, how much of it is done, and how much there is.
Progress: TypeAlias = Callable[[str, int, int], None]

CHUNK = 256  # pictures that a process draws and extracts at a time: bounds memory


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
    """
    if processes.is_main_process:
        files = [
            np.lib.format.open_memmap(folder / name, "w+", np.dtype(np.float32), (num, columns))
            for name, columns in ((FEATURES, network.width), (LOGITS, network.num_logits))
        ]
    stride = CHUNK * processes.num_processes
    for first in range(0, num, stride):
        start = min(first + CHUNK * processes.process_index, num)
        own = _own_share(network, draw, start, min(start + CHUNK, num), processes.device)
        # In order of the processes: rows first, first + 1, ... of all; the last ones are padding.
        rows: Tensor = gather(own)
        if processes.is_main_process:
            done = min(first + stride, num)
            parts = rows[: done - first].cpu().numpy()
            for file, part in zip(files, np.split(parts, [network.width], axis=1), strict=True):
                file[first:done] = part
            progress(what, done, num)


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
    mapped: FloatArray = np.lib.format.open_memmap(path, mode="r")
    return mapped
