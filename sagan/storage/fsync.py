"""Writing that waits for the disk, one system call at a time.

Files are written with `os.open` and `os.write`, one call for each thing that can fail, so that
`scripts/faults.py` can make every one of them fail in turn.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends

_NOT_SUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def write(path: Path, content: bytes) -> None:
    """Write a file, and wait until its content is on the disk.

    Raises:
        OSError: it cannot be written; part of it may be there.
    """
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
        _write_all(descriptor, content)
        _wait_for_disk(descriptor)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, which is made if missing; use `flush` to wait for the disk.

    Raises:
        OSError: it cannot be written; part of it may be there.
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
        left = left[os.write(descriptor, left) :]  # it may write less than it was asked to


def _wait_for_disk(descriptor: int) -> None:
    """Wait until the disk has written; macOS's own fsync only waits until the disk has the data."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
        else:
            return
    os.fsync(descriptor)


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk.

    Raises:
        OSError: they cannot be written.
    """
    if os.name == "nt":  # Windows cannot open folders, nor flush files that are open for reading
        return
    with _opened(path, os.O_RDONLY) as descriptor:
        try:
            _wait_for_disk(descriptor)
        except OSError as error:
            # Virtual machines' shared folders and some network disks cannot flush folders.
            if error.errno not in _NOT_SUPPORTED or not path.is_dir():
                raise


def rename(source: Path, target: Path) -> None:
    """Rename a file or folder within its folder, replacing a file of that name.

    If `source` was on the disk, then even after a power cut `target` is the whole of the old or of
    the new file.

    Raises:
        OSError: it cannot be renamed.
    """
    source.replace(target)
    flush(target.parent)
