"""What has to be on the disk before something else may rely on it.

Files are written through `os.open` and `os.write` here, one system call for each thing that can
fail, so that `scripts/faults.py` can make every one of them fail in turn.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends

_MENDING = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose a place that you may write to",
}

_NOT_OFFERED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def write(path: Path, content: bytes) -> None:
    """Make a file of this content, or give it this content; it is on the disk afterward.

    Raises:
        OSError: it cannot be written; some of it may be there.
    """
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
        _write_all(descriptor, content)
        os.fsync(descriptor)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, which is made if it is not there; `flush` waits for the disk.

    Raises:
        OSError: it cannot be written; some of it may be there.
    """
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as descriptor:
        _write_all(descriptor, content)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | _BINARY, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]  # which may write less than it was asked to


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk.

    Raises:
        OSError: they cannot be written.
    """
    if os.name == "nt":  # where folders cannot be opened, nor files flushed that are read
        return
    with _opened(path, os.O_RDONLY) as descriptor:
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Shared folders of virtual machines and some network disks know no such thing.
            if error.errno not in _NOT_OFFERED or not path.is_dir():
                raise


def rename(source: Path, target: Path) -> None:
    """Give a file or folder another name in its folder, in place of a file that has it.

    What has the new name afterward, also if the machine stops, is the whole of one or the other,
    provided that `source` was on the disk.

    Raises:
        OSError: it cannot be renamed.
    """
    source.replace(target)
    flush(target.parent)


def discard(path: Path) -> None:
    """Remove a folder or file, of which no part is seen under its name while that goes on.

    What then cannot be removed is litter, which `sweep` finds.

    Raises:
        OSError: it cannot even be renamed.
    """
    aside = path.with_name(f".{path.name}.old.tmp")
    path.replace(aside)
    with suppress(OSError):
        _remove(aside)


def sweep(folder: Path) -> None:
    """Remove what processes that are gone left in a folder: everything called `.*.tmp`."""
    for litter in folder.glob(".*.tmp"):
        with suppress(OSError):
            _remove(litter)


def is_litter(path: Path) -> bool:
    """Whether `sweep` would remove this."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def reason(error: Exception) -> str:
    """Why something could not be read or written and, where known, how to mend it, in a line."""
    told = " ".join(str(getattr(error, "strerror", None) or error).split())
    mending = _MENDING.get(getattr(error, "errno", None) or 0)
    return f"{told} ({mending})" if mending else told
