"""Unfinished work on disk: one convention for naming it, and for removing it once it is abandoned.

Whatever is not finished has a hidden name that ends in `.tmp`, beside the place where it will
appear. It takes its final name by one rename when it is complete, so that under a final name there
is never a part of something. A process that dies leaves `.*.tmp` behind, which is removed later:

* In a folder where only one process works at a time (a run directory, which is locked), every
  `.*.tmp` is abandoned: `remove_unfinished`.
* Where several processes work (beside a packed set, in the cache), a folder NAME is written as
  `.NAME.HOST.HEX.tmp` under the lock `.NAME.HOST.HEX.lock`. The lock is the system's and ends with
  its process, however that dies, so a lock that can be taken marks abandoned work:
  `remove_abandoned`. On some shared disks locks do not reach other machines; what these write is
  left alone for a day.
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

_LOCK, _UNFINISHED = ".lock", ".tmp"
HOST_NAME = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())[:32]
_DAY = 86_400.0  # seconds


# ---------------------------------------------------------------------------------------------
# Folders where one process works at a time


def is_unfinished(path: Path) -> bool:
    """Whether `remove_unfinished` would remove this."""
    return path.name.startswith(".") and path.name.endswith(_UNFINISHED)


def remove_unfinished(folder: Path) -> None:
    """Remove everything unfinished in a folder where no other process works."""
    for path in folder.glob(f".*{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            _remove(path)


def discard(path: Path) -> None:
    """Remove a folder or file so that no part of it is ever seen under its name.

    What cannot be removed is left as unfinished work.

    Raises:
        OSError: it cannot even be renamed.
    """
    aside = path.with_name(f".{path.name}.old{_UNFINISHED}")
    path.replace(aside)
    with contextlib.suppress(OSError):
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


# ---------------------------------------------------------------------------------------------
# Folders where several processes work


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` to write to; it is removed at the end if still there.

    Work that dead processes abandoned beside `out` is removed first.

    Raises:
        OSError: the folder cannot be made.
    """
    remove_abandoned(out.parent)
    stem = f".{out.name}.{HOST_NAME}.{uuid.uuid4().hex}"
    folder = out.with_name(stem + _UNFINISHED)
    # The lock comes before the folder, so that no folder is ever seen without one.
    with _owned(out.with_name(stem + _LOCK), blocking=True):
        folder.mkdir()
        yield folder


def remove_abandoned(place: Path) -> None:
    """Remove what dead processes were writing in a folder; what living ones write stays."""
    for lock_file in place.glob(f".*.{'[0-9a-f]' * 32}{_LOCK}"):
        if _would_be_locked(lock_file):
            with contextlib.suppress(Timeout, OSError), _owned(lock_file, blocking=False):
                pass


@contextlib.contextmanager
def _owned(lock_file: Path, *, blocking: bool) -> Iterator[None]:
    """Hold the lock of an unfinished folder; at the end remove both, the folder first.

    A folder that cannot be removed keeps its lock file, by which it is found again.

    Raises:
        Timeout: another process holds the lock, and `blocking` is false.
        OSError: the lock file cannot be made.
    """
    folder = lock_file.with_suffix(_UNFINISHED)
    lock = FileLock(lock_file)
    lock.acquire(blocking=blocking)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        # The lock file goes while it is held: a process that waits for the lock then sees that the
        # file has lost its name. A moment later, that process could be the one that holds it.
        unlinked = not folder.exists() and _unlink(lock_file)
        lock.release()
        if folder.exists():
            with contextlib.suppress(OSError):
                lock_file.touch()  # on Windows, `release` removes it
        elif not unlinked:
            # Windows refuses to remove a file that is open; for that reason trying again is safe.
            _unlink(lock_file)


def _unlink(path: Path) -> bool:
    """Remove a file if possible; return whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _would_be_locked(lock_file: Path) -> bool:
    """Whether its process, if alive, would hold this lock: it runs here, or began a day ago."""
    if lock_file.name.split(".")[-3] == HOST_NAME:
        return True
    with contextlib.suppress(OSError):
        return time.time() - lock_file.stat().st_mtime > _DAY
    return False


@contextlib.contextmanager
def filled(out: Path) -> Iterator[Path]:
    """Yield an empty folder to write to; at the end its content is in `out`, else nothing is.

    Args:
        out: a folder that is missing or, apart from unfinished work, empty. An empty folder stays
            what it is, since it may be a disk of its own or the current one.

    Raises:
        OSError: a folder cannot be made or renamed.
    """
    if not out.is_dir():
        out.parent.mkdir(parents=True, exist_ok=True)
        with staged(out) as folder:
            yield folder
            folder.rename(out)
        return
    with staged(out / "files") as folder:
        yield folder
        for path in list(folder.iterdir()):
            path.rename(out / path.name)


def is_staged(path: Path) -> bool:
    """Whether this is an unfinished folder of `staged`, or its lock."""
    return re.fullmatch(rf"\..*\.[0-9a-f]{{32}}({_LOCK}|{_UNFINISHED})", path.name) is not None


def replace(folder: Path, out: Path) -> None:
    """Give a finished folder its name, in place of a folder that has it.

    Raises:
        OSError: it cannot be renamed; the old folder keeps its name.
    """
    flush(folder)
    if out.is_dir() and any(out.iterdir()):
        # A folder cannot be renamed onto one that is not empty. The old one goes aside first, so
        # that at any moment the name means the old set, the new one or (briefly) nothing.
        with staged(out) as old:
            try:
                out.rename(old / "replaced")
                folder.rename(out)
            finally:
                if not out.exists():
                    (old / "replaced").rename(out)
    else:
        folder.rename(out)
    flush(out.parent)


def keep_first(folder: Path, out: Path) -> None:
    """Give a finished folder its name, unless another process was first with an equal one.

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
