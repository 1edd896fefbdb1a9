"""The images that a run saved on the way: step-NNNNNNNN.png in samples/ and attention/.

A run directory may come from anyone, and its images are shown to others. So links, which may lead
to files that are not the run's, are not followed, and only PNG files are read.
"""

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from sagan.storage.files import MAX_TEXT_BYTES

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def snapshots(folder: Path) -> dict[int, Path]:
    """Return {step: path} of a folder's PNG files, in the order of the steps.

    Links and files over 16 MiB are left out. A folder that is missing, or a link itself, has none.
    """
    if folder.is_symlink():
        return {}
    named = ((re.fullmatch(r"step-(\d{1,12})\.png", p.name), p) for p in folder.glob("step-*.png"))
    return dict(sorted((int(name[1]), path) for name, path in named if name and _is_png(path)))


def read_snapshot(path: Path) -> bytes | None:
    """Return a PNG file's content; None if the file is not one of those that `snapshots` lists."""
    if path.is_symlink():
        return None
    file = open_regular(path, MAX_TEXT_BYTES)
    if file is None:
        return None
    with file:
        content = file.read(MAX_TEXT_BYTES)
    return content if content.startswith(PNG_SIGNATURE) else None


def _is_png(path: Path) -> bool:
    file = None if path.is_symlink() else open_regular(path, MAX_TEXT_BYTES)
    if file is None:
        return False
    with file:
        return file.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE


def open_regular(path: Path, max_bytes: int) -> BinaryIO | None:
    """Open a file for reading; None if it is missing, not a regular file or too large.

    A device may never end, and a pipe would wait for someone to write to it.
    """
    try:
        # Checked after opening, so that the file cannot be exchanged in between.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    file = os.fdopen(descriptor, "rb")
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= max_bytes:
        return file
    file.close()
    return None
