"""From images to a file of features, in bounded memory, shared by all processes."""

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

from sagan.images.rgb import as_rgb
from sagan.metrics.features.network import FeatureNetwork
from sagan.runtime.watch import waiting_for
from sagan.storage.fsync import append, flush, write
from sagan.types import Float32Array, NamedProgress, UInt8Array

# Returns images [start, stop) of a fixed order: uint8 (stop - start, H, W, C).
DrawImages: TypeAlias = Callable[[int, int], UInt8Array]

IMAGES_PER_CHUNK = 256  # bounds memory: images that a process generates and extracts at a time
ROWS_PER_BLOCK = 4096  # bounds memory: rows of features in float64 at a time

FEATURES, LOGITS = "features.npy", "logits.npy"


def no_progress(what: str, done: int, total: int) -> None:
    """Show no progress."""


def extract(
    network: FeatureNetwork,
    draw: DrawImages,
    num: int,
    folder: Path,
    processes: PartialState,
    what: str,
    progress: NamedProgress = no_progress,
    outputs: Sequence[str] = (FEATURES,),
) -> None:
    """Write features.npy, float32 (N, D), or logits.npy, float32 (N, K), or both.

    Every process calls this. With C = `IMAGES_PER_CHUNK`, process r of W handles images r * C to
    (r + 1) * C - 1 of every W * C; the main process gathers and writes the features. An image's
    features depend on that image only, up to float32 rounding (1e-5 of the largest feature): not
    on the batch, nor on the number of processes.

    Args:
        network: on the processes' device.
        draw: returns images by their numbers.
        num: N, number of images.
        folder: where the main process writes; the others do not access it.
        processes: the processes that take part.
        what: describes the images, for `progress`.
        progress: called in the main process.
        outputs: names of the files to write, `FEATURES` or `LOGITS` or both.

    Raises:
        OSError: a file cannot be written, in the main process.
    """
    widths = {FEATURES: network.width, LOGITS: network.num_logits}
    files = {name: widths[name] for name in outputs}
    if processes.is_main_process:
        for name, columns in files.items():
            write(folder / name, _header(num, columns))
    stride = IMAGES_PER_CHUNK * processes.num_processes
    for first in range(0, num, stride):
        start = min(first + IMAGES_PER_CHUNK * processes.process_index, num)
        own = torch.zeros(IMAGES_PER_CHUNK, sum(files.values()), device=processes.device)
        stop = min(start + IMAGES_PER_CHUNK, num)
        if stop > start:
            images = torch.from_numpy(np.array(as_rgb(draw(start, stop)))).to(processes.device)
            found = dict(zip(widths, network(images), strict=True))
            own[: stop - start] = torch.cat([found[name] for name in files], dim=1)
        # In the order of processes, so rows first, first + 1, ... of all; any rest is padding.
        with waiting_for(f"the other processes ({what})"):
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
    """Return the header of an .npy file of float32 (rows, columns)."""
    header = BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
    npy.write_array_header_1_0(header, shape)
    return header.getvalue()


def map_array(path: Path, rows: int, columns: int) -> Float32Array:
    """Map one of the files of `extract` into memory: float32 (rows, columns).

    Raises:
        OSError: the file cannot be read.
        ValueError: it has another shape, or is damaged.
    """
    # NumPy's reader parses the header as Python, and may raise anything if it is damaged.
    header = _header(rows, columns)
    with path.open("rb") as file:
        begins = file.read(len(header))
    if begins != header or path.stat().st_size != len(header) + 4 * rows * columns:
        raise ValueError(f"'{path}' does not have {rows} rows of {columns} numbers")
    return np.memmap(path, "<f4", mode="r", offset=len(header), shape=(rows, columns))


def float64_blocks(features: Float32Array) -> Iterator[npt.NDArray[np.float64]]:
    """Yield features (N, D) in float64, `ROWS_PER_BLOCK` rows at a time."""
    for start in range(0, len(features), ROWS_PER_BLOCK):
        yield features[start : start + ROWS_PER_BLOCK].astype(np.float64)
