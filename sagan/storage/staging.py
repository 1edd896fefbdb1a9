"""Folders that appear under their name whole or not at all, and the litter of processes that died.

A folder NAME is written as .NAME.HOST.HEX.tmp beside its place, under the lock
.NAME.HOST.HEX.lock, and then renamed. The lock is the system's and ends with the process that holds
it, however that dies, so a lock that can be taken marks litter. On some shared disks locks do not
reach other machines: what these write is left alone for a day.
"""

import contextlib
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from sagan.storage.fsync import flush

_LOCK, _FOLDER = ".lock", ".tmp"
HOST = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())[:32]
_DAY = 86_400.0  # seconds


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Give an empty folder to write on the same disk as `out`; it is removed if still there.

    Folders that dead processes left beside it are swept away first.

    Raises:
        OSError: it cannot be made.
    """
    sweep(out.parent)
    stem = f".{out.name}.{HOST}.{uuid.uuid4().hex}"
    folder, lock_file = out.with_name(stem + _FOLDER), out.with_name(stem + _LOCK)
    # The lock comes before the folder: a folder without one is never seen.
    with FileLock(lock_file):
        try:
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock_file.unlink(missing_ok=True)


def sweep(place: Path) -> None:
    """Remove what processes that are gone were writing in this folder."""
    for lock_file in filter(_is_telling, place.glob(f".*.{'[0-9a-f]' * 32}{_LOCK}")):
        with contextlib.suppress(Timeout, OSError), FileLock(lock_file, blocking=False):
            shutil.rmtree(lock_file.with_suffix(_FOLDER), ignore_errors=True)
            lock_file.unlink(missing_ok=True)


def _is_telling(lock_file: Path) -> bool:
    """Whether it means something that nobody holds a lock: one of this machine, or an old one."""
    if lock_file.name.split(".")[-3] == HOST:
        return True
    with contextlib.suppress(OSError):
        return time.time() - lock_file.stat().st_mtime > _DAY
    return False


def replace(folder: Path, out: Path) -> None:
    """Give a finished folder its name, in place of a folder that has it.

    Raises:
        OSError: it cannot be renamed.
    """
    flush(folder)
    if out.is_dir() and any(out.iterdir()):
        # A folder cannot be renamed onto one with content. The old one goes aside first, so that at
        # every moment the name has the old set, the new one or (briefly) nothing.
        with staged(out) as old:
            out.rename(old / "replaced")
            folder.rename(out)
    else:
        folder.rename(out)
    flush(out.parent)


def keep_first(folder: Path, out: Path) -> None:
    """Give a finished folder its name, unless another process was first with as good a one.

    Raises:
        OSError: it cannot be renamed.
    """
    flush(folder)
    try:
        folder.rename(out)
    except OSError:
        if not out.is_dir():
            raise
        return
    flush(out.parent)
