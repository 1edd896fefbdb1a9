"""The images that a run saved on the way: step-NNNNNNNN.png in samples/ and attention/.

A run directory may come from anyone, and its images are shown to others. So links, which may lead
to files that are not the run's, are not followed, and only PNG files are read.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from sagan.errors import UnreadableError
from sagan.images.decode import decode_whole
from sagan.images.grid import split_grid
from sagan.images.shape import ImageShape
from sagan.storage.files import open_file, read_file
from sagan.types import UInt8Array

FrameT = TypeVar("FrameT")

MAX_SNAPSHOT_BYTES = 16 * 1024**2
MAX_GRID_PIXELS = 2**24  # those of 256-pixel samples have 5 million
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def snapshots(folder: Path) -> dict[int, Path]:
    """Return {step: path} of a folder's PNG files, in the order of the steps.

    Links and files over 16 MiB are left out. A folder that is missing, or a link itself, has none.
    """
    if folder.is_symlink():
        return {}
    named = ((re.fullmatch(r"step-(\d{1,12})\.png", p.name), p) for p in folder.glob("step-*.png"))
    return dict(sorted((int(name[1]), path) for name, path in named if name and _is_png(path)))


def spread(frames: Sequence[FrameT], most: int) -> list[FrameT]:
    """Return at most `most` frames, evenly spread, with the first and the last."""
    num = min(most, len(frames))
    return [frames[round(i * (len(frames) - 1) / max(num - 1, 1))] for i in range(num)]


def read_snapshot(path: Path) -> bytes | None:
    """Return a PNG file's content; None if the file is not one of those that `snapshots` lists."""
    try:
        content = read_file(path, MAX_SNAPSHOT_BYTES, follow_links=False)
    except UnreadableError:
        return None
    return content if content.startswith(PNG_SIGNATURE) else None


def _is_png(path: Path) -> bool:
    try:
        with open_file(path, MAX_SNAPSHOT_BYTES, follow_links=False) as file:
            return file.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE
    except UnreadableError:
        return False


def read_grid(path: Path, shape: ImageShape) -> UInt8Array | None:
    """Take a saved grid of samples apart: uint8 (rows, columns, H, W, 3).

    Args:
        path: the file.
        shape: of the samples.

    Returns:
        None if it cannot be read or is not such a grid.
    """
    content = read_snapshot(path)
    if not content:
        return None
    try:
        grid = decode_whole(content, MAX_GRID_PIXELS)
    except UnreadableError:
        return None
    return split_grid(grid, shape)
