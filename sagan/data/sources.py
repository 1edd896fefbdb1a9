"""What the user points at, as a stream of encoded pictures with labels.

A source yields bytes and names a function that decodes them, rather than pixels: bytes are cheap to
hand to the processes that decode, and reading stays in one place and in one order. To add a kind of
source, write a class with the attributes of `Source` and a line in `open_source`.
"""

import hashlib
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from sagan.data.decode import Fit, PictureFacts, UInt8Array, UnreadableError, decode, examine
from sagan.data.layout import Layout, arrange, is_picture_name, printable
from sagan.errors import SaganError

# No honest picture file is larger, and a member of a zip may claim any size.
MAX_FILE_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class Picture:
    """One picture of a source, not read yet.

    name is unique within the source; label is in 0..K-1, or NO_LABEL in a source without classes;
    read() gives the encoded file and raises UnreadableError.
    """

    name: str
    label: int
    read: Callable[[], bytes]


class Decoder(Protocol):
    """A module-level function, so that other processes can be told to call it."""

    def __call__(self, data: bytes, size: int, fit: Fit) -> UInt8Array:
        """Encoded picture -> uint8 (size, size, 3), RGB. Raises UnreadableError."""


class Source(Protocol):
    """A set of encoded pictures in a fixed order, the same on every machine."""

    @property
    def name(self) -> str:
        """What to call the source when talking to the user."""

    @property
    def split(self) -> str:
        """The split that `pictures` yields."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are, empty where the source has none."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes, empty without labels."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided about the source and the user should hear, a line each."""

    def __len__(self) -> int:
        """How many pictures `pictures` yields."""

    def pictures(self) -> Iterator[Picture]:
        """Yield every picture of the split. A picture's read() is called before the next is asked
        for, and never again."""

    def listing_digest(self) -> str:
        """Sha256 hex over what is there, without reading any picture: changes when files do."""

    @property
    def decode(self) -> Decoder:
        """Turns what this source's pictures read as into pixels."""

    @property
    def examine(self) -> Callable[[bytes], PictureFacts]:
        """Says what a picture is; a module-level function, too. Raises UnreadableError."""


def open_source(source: str, split: str = "train") -> Source:
    """Find out what `source` is and list it: "openmoji", a folder, or a zip.

    Raises:
        SaganError: it is none of these, cannot be read, holds no pictures, or lacks the split.
    """
    if source == "openmoji":
        # Here, because rendering needs libraries that nothing else does.
        from sagan.data.openmoji import OpenMojiSource

        return OpenMojiSource(split)
    path = Path(source).expanduser()
    if not path.exists():
        raise SaganError(
            f"no data set at '{source}': give a folder, a .zip, a packed data set or 'openmoji'"
        )
    if path.is_dir():
        return FolderSource(path, split)
    if zipfile.is_zipfile(path):
        return ZipSource(path, split)
    raise SaganError(
        f"cannot use the file '{source}' as a data set: give a folder, a whole .zip, "
        "a packed data set or 'openmoji'"
    )


class FolderSource:
    """Pictures in a folder and its sub-folders; see `layout.arrange` for what these mean."""

    decode = staticmethod(decode)
    examine = staticmethod(examine)

    def __init__(self, path: Path, split: str) -> None:
        self.name = printable(str(path))
        self.split = split
        self._path = path
        troubles: list[str] = []
        self._names = sorted(_walk(path, troubles))
        if troubles and not self._names:
            raise SaganError(f"no pictures in {path}: {troubles[0]}")
        self._layout = arrange(self._names, split, self.name)
        self.splits = self._layout.splits
        self.classes = tuple(map(printable, self._layout.classes))
        self.notes = tuple(map(printable, (*self._layout.notes, *troubles)))

    def __len__(self) -> int:
        return len(self._layout.files)

    def pictures(self) -> Iterator[Picture]:
        for name, label in _chosen(self._names, self._layout):
            yield Picture(printable(name), label, partial(_read_file, self._path / name))

    def listing_digest(self) -> str:
        def entries() -> Iterator[tuple[object, ...]]:
            for name, _ in _chosen(self._names, self._layout):
                try:
                    status = (self._path / name).stat()
                    yield name, status.st_size, status.st_mtime_ns
                except OSError:
                    yield name, "unreadable"

        return _digest("folder", self._path, self.classes, entries())


class ZipSource:
    """Pictures in a zip archive, read in place and never extracted."""

    decode = staticmethod(decode)
    examine = staticmethod(examine)

    def __init__(self, path: Path, split: str) -> None:
        self.name = printable(str(path))
        self.split = split
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                infos = [info for info in archive.infolist() if not info.is_dir()]
        except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise SaganError(f"cannot read the zip '{path}': {error}") from None
        # Some archivers on Windows write backslashes. Of two members with one name the later
        # counts, as it would after extracting.
        members = {info.filename.replace("\\", "/"): info for info in infos}
        unsafe = sorted(name for name in members if _is_unsafe(name))
        self._members = {
            name: info
            for name, info in sorted(members.items())
            if is_picture_name(name) and not _is_unsafe(name)
        }
        self._names = list(self._members)
        self._layout = arrange(self._names, split, self.name)
        self.splits, self.classes = self._layout.splits, self._layout.classes
        self.notes = self._layout.notes
        if unsafe:
            self.notes += (
                f"{len(unsafe)} members whose names point out of the archive are left out, "
                f"such as '{unsafe[0]}'",
            )

    def __len__(self) -> int:
        return len(self._layout.files)

    def pictures(self) -> Iterator[Picture]:
        with zipfile.ZipFile(self._path) as archive:
            for name, label in _chosen(self._names, self._layout):
                yield Picture(name, label, partial(_read_member, archive, self._members[name]))

    def listing_digest(self) -> str:
        infos = ((name, self._members[name]) for name, _ in _chosen(self._names, self._layout))
        entries = ((name, info.file_size, info.CRC) for name, info in infos)
        return _digest("zip", self._path, self.classes, entries)


def _chosen(names: list[str], layout: Layout) -> Iterator[tuple[str, int]]:
    return ((names[index], label) for index, label in layout.files)


def _walk(root: Path, troubles: list[str]) -> Iterator[str]:
    """Yield the pictures' paths below root, with forward slashes.

    Links to folders are followed, since data sets are often put together from links, but no folder
    is entered twice, so that a loop of links ends.
    """
    seen: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        troubles.append(f"cannot list '{error.filename}': {error.strerror}")

    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=note):
        status = os.stat(folder)  # noqa: PTH116
        # Windows has no inode numbers on some file systems, and no loops of links to fear there.
        identity = (status.st_dev, status.st_ino)
        if status.st_ino and identity in seen:
            subfolders.clear()
            continue
        seen.add(identity)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        below = Path(folder).relative_to(root)
        yield from (
            name for name in ((below / file).as_posix() for file in files) if is_picture_name(name)
        )


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("not a regular file")  # a pipe would wait forever
        if status.st_size > MAX_FILE_BYTES:
            raise UnreadableError(f"larger than {MAX_FILE_BYTES // 1024**2} MiB")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None


def _is_unsafe(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/") or name[1:2] == ":"


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.flag_bits & 0x1:
        raise UnreadableError("encrypted")
    if info.file_size > MAX_FILE_BYTES:
        raise UnreadableError(f"larger than {MAX_FILE_BYTES // 1024**2} MiB")
    try:
        with archive.open(info) as member:
            # With a number of bytes, inflating stops there, whatever the member goes on to hold.
            return member.read(info.file_size)
    except Exception as error:
        # zipfile lets through what the decompressors and struct raise on damaged members.
        raise UnreadableError(str(error) or type(error).__name__) from None


def _digest(
    kind: str, path: Path, classes: tuple[str, ...], entries: Iterable[tuple[object, ...]]
) -> str:
    digest = hashlib.sha256()
    for entry in ((kind, str(path.resolve())), classes, *entries):
        # repr escapes the lone surrogates of names that are not UTF-8.
        digest.update(ascii(entry).encode() + b"\n")
    return digest.hexdigest()
