"""A folder in which system calls fail, for scripts/faults.py: crashes, power cuts, full disks."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ENDED = 77  # exit status of a process ended by a fault
NEEDS_ROOM = ("open", "write", "fsync", "close", "mkdir", "rename", "replace")


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        error: the `errno` that the call fails with; of a write, half is written.
        calls: the calls that can fail like this; empty for all.
        lasting: whether all later calls fail, too.
        half: whether half of a write is written and reported as such.
        ends: whether the process ends after the call.
        forgets: what is lost at its end if it was not flushed: "content", or "names" as well.
    """

    error: int = 0
    calls: tuple[str, ...] = ()
    lasting: bool = False
    half: bool = False
    ends: bool = False
    forgets: str = ""


KINDS = {
    "crash": Kind(ends=True),
    "crash in a write": Kind(ends=True, half=True, calls=("write",)),
    "power cut": Kind(ends=True, forgets="names"),
    "power cut, names first": Kind(ends=True, forgets="content"),
    "short write": Kind(half=True, calls=("write",)),
    "ENOSPC": Kind(errno.ENOSPC, NEEDS_ROOM),
    "ENOSPC, lasting": Kind(errno.ENOSPC, NEEDS_ROOM, lasting=True),
    "EDQUOT": Kind(errno.EDQUOT, NEEDS_ROOM),
    "EIO": Kind(errno.EIO),
    "EIO, lasting": Kind(errno.EIO, lasting=True),
    "EROFS, lasting": Kind(errno.EROFS, lasting=True),
}


class Flushed:
    """The part of a folder that is certain to be on disk, unlike what is still in memory.

    Files and folders are known by their inodes. They are kept open, so that no inode is reused.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._content: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, tuple[int, bool]]] = {}
        self._open_files: list[int] = []
        for path in (root, *root.rglob("*")):
            self.flush(path)

    def flush(self, path: Path) -> None:
        """Note that a file's content, or a folder's names, are on disk."""
        self._open_files.append(_OPEN(path, os.O_RDONLY))
        inode = path.stat().st_ino
        if path.is_dir():
            self._entries[inode] = _entries(path)
        else:
            self._content[inode] = path.read_bytes()

    def forget_the_rest(self, names: bool) -> None:
        """Undo what is not certain to be on disk: content, and with `names` changed names, too."""
        tree = self._known(self.root.stat().st_ino) if names else self._seen(self.root)
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _make(self.root, tree)

    def _known(self, inode: int) -> dict[str, Any]:
        return {
            name: self._known(below) if is_folder else self._content.get(below, b"")
            for name, (below, is_folder) in self._entries.get(inode, {}).items()
        }

    def _seen(self, folder: Path) -> dict[str, Any]:
        return {
            name: self._seen(folder / name) if is_folder else self._content.get(below, b"")
            for name, (below, is_folder) in _entries(folder).items()
        }


def _entries(folder: Path) -> dict[str, tuple[int, bool]]:
    with os.scandir(folder) as entries:
        return {entry.name: (entry.inode(), entry.is_dir()) for entry in entries}


def _make(folder: Path, tree: dict[str, Any]) -> None:
    for name, content in tree.items():
        if isinstance(content, dict):
            (folder / name).mkdir()
            _make(folder / name, content)
        else:
            (folder / name).write_bytes(content)


_OPEN = os.open


class Disk:
    """Intercepts this process's calls that change a folder, and makes one of them fail.

    Args:
        root: the folder.
        kind: the kind of fault.
        at: the number of the call that fails, from 1; 0 for none.

    Attributes:
        calls: the names of the calls so far.
    """

    def __init__(self, root: Path, kind: Kind, at: int) -> None:
        self.root = root
        self.kind = kind
        self.at = at
        self.calls: list[str] = []
        self._paths: dict[int, Path] = {}  # of open descriptors
        self._changing: set[int] = set()  # the descriptors among them that can write
        self._flushed = Flushed(root) if kind.forgets else None

    def install(self) -> None:
        """Replace functions of `os` for the rest of this process."""
        os.open, os.write = partial(self._open, os.open), partial(self._write, os.write)
        os.fsync, os.close = partial(self._fsync, os.fsync), partial(self._close, os.close)
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
            setattr(os, name, partial(self._change, name, getattr(os, name)))

    def _open(
        self, real: Any, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        where = self._below(path, dir_fd)
        do = partial(real, path, flags, mode, dir_fd=dir_fd)
        if where is None:
            return do()
        changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        descriptor: int = self._call("open", do) if changes else do()
        self._paths[descriptor] = where
        if changes:
            self._changing.add(descriptor)
        return descriptor

    def _write(self, real: Any, descriptor: int, data: Any) -> int:
        if descriptor not in self._paths:
            return real(descriptor, data)
        do = partial(real, descriptor, data)
        return self._call("write", do, partial(real, descriptor, data[: (len(data) + 1) // 2]))

    def _fsync(self, real: Any, descriptor: int) -> None:
        def do() -> None:
            real(descriptor)
            if self._flushed is not None:
                self._flushed.flush(self._paths[descriptor])

        self._call("fsync", do) if descriptor in self._paths else real(descriptor)

    def _close(self, real: Any, descriptor: int) -> None:
        real(descriptor)  # closes it even if the call then fails, as on network disks
        self._paths.pop(descriptor, None)
        if descriptor in self._changing:
            self._changing.remove(descriptor)
            self._call("close", lambda: None)

    def _change(
        self, name: str, real: Any, path: Any, *args: Any, dir_fd: int | None = None, **more: Any
    ) -> None:
        if dir_fd is not None:
            more["dir_fd"] = dir_fd
        do = partial(real, path, *args, **more)
        do() if self._below(path, dir_fd) is None else self._call(name, do)

    def _below(self, path: Any, folder: int | None) -> Path | None:
        """Return the absolute path if it is inside the root folder."""
        if folder is not None:
            return self._paths[folder] / path if folder in self._paths else None
        whole = Path(os.path.abspath(path))  # noqa: PTH100 -- does not resolve links
        return whole if whole.is_relative_to(self.root) else None

    def _call(
        self, name: str, do: Callable[[], Any], half: Callable[[], Any] = lambda: None
    ) -> Any:
        self.calls.append(name)
        number = len(self.calls)
        can = not self.kind.calls or name in self.kind.calls
        here = can and number == self.at
        if self.kind.error and (here or (can and self.kind.lasting and 0 < self.at < number)):
            half()
            raise OSError(self.kind.error, os.strerror(self.kind.error))
        try:
            return half() if here and self.kind.half else do()
        finally:
            if here and self.kind.ends:
                self._end()

    def _end(self) -> None:
        if self._flushed is not None:
            self._flushed.forget_the_rest(names=self.kind.forgets == "names")
        os._exit(ENDED)
