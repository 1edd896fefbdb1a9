"""Images in a zip archive, read in place and never extracted."""

import struct
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sagan.data.sources.base import SourceImage, digest_of
from sagan.data.sources.named import NamedSource
from sagan.data.sources.names import is_image_name, unread_note
from sagan.errors import SaganError, UnreadableError
from sagan.storage.files import MAX_IMAGE_BYTES, open_file, read_part
from sagan.types import BoolArray

# A member in 35 bytes; a ZipInfo takes a kilobyte, and archives have millions of members.
_MEMBER = np.dtype(
    [("offset", "u8"), ("packed", "u8"), ("size", "u8"), ("crc", "u4"), ("method", "u2"),
     ("encrypted", "?"), ("overlaps", "?")]
)  # fmt: skip
Members = npt.NDArray[np.void]
# The same as Python values: the offset of its header, compressed and plain size, CRC-32,
# compression method, whether it is encrypted, and whether it begins within another member.
Member = tuple[int, int, int, int, int, bool, bool]

_BLOCK = 1000
_LOCAL_HEADER_BYTES = 30
_USUAL_NAME_BYTES = 128
_LOCAL_SIGNATURE = b"PK\x03\x04"


class ZipSource(NamedSource):
    """Images in a zip archive."""

    def __init__(self, path: Path, split: str) -> None:
        found, members = _read_directory(path)
        indices, notes = usable_names(found)
        self._members = members[list(indices.values())]

        def read(name: str) -> bytes:
            # Of two members with one name the later counts, as in `usable_names`.
            last = max(index for index, each in enumerate(found) if each == name)
            return read_member(str(path), members[last].item())

        super().__init__(path, split, found, list(indices), notes, read)

    def images(self) -> Iterator[SourceImage]:
        path, files = str(self._path), self._arrangement.files
        for start in range(0, len(files), _BLOCK):
            block = files[start : start + _BLOCK]
            # Converting a thousand at once takes a tenth of the time of one by one.
            members = self._members[[index for index, _ in block]].tolist()
            for (index, label), member in zip(block, members, strict=True):
                name = self._names[index]
                yield SourceImage(name, label, partial(read_member, path, member))

    def listing_digest(self) -> str:
        entries = (
            (self._names[index], label, *self._members[index].item())
            for index, label in self._arrangement.files
        )
        return digest_of("zip", self._path, self.classes, entries)


class _Directory(zipfile.ZipFile):
    """Reads a zip's directory and keeps names and members only.

    ZipFile adds a ZipInfo to the list `filelist` and to the dictionary `NameToInfo` for every
    member: 600 bytes each, a gigabyte for ImageNet. Here, neither keeps anything.
    """

    def __init__(self, path: Path) -> None:
        self.names: list[str] = []
        self.records = array("Q")  # six numbers for each member, as in _MEMBER
        with open_file(path) as file:
            super().__init__(file)

    @property
    def filelist(self) -> "_Sink":
        return _Sink(self)

    @filelist.setter
    def filelist(self, value: object) -> None:
        """Do not keep ZipFile's list."""

    @property
    def NameToInfo(self) -> dict[str, zipfile.ZipInfo]:  # noqa: N802
        return {}

    @NameToInfo.setter
    def NameToInfo(self, value: object) -> None:  # noqa: N802
        """Do not keep ZipFile's dictionary."""

    def add(self, info: zipfile.ZipInfo) -> None:
        """Keep what is needed of a member."""
        if info.filename and not info.is_dir():
            self.names.append(plain_name(info.filename))
            self.records.extend(
                (info.header_offset, info.compress_size, info.file_size, info.CRC,
                 info.compress_type, info.flag_bits & 1)
            )  # fmt: skip


class _Sink(list[zipfile.ZipInfo]):
    """A list that hands on what is appended to it, and stays empty."""

    def __init__(self, directory: _Directory) -> None:
        super().__init__()
        self._directory = directory

    def append(self, info: zipfile.ZipInfo) -> None:
        self._directory.add(info)


def _read_directory(path: Path) -> tuple[list[str], Members]:
    """Return names and members of all files in a zip.

    Raises:
        SaganError: it is damaged, or cannot be read.
    """
    try:
        directory = _Directory(path)
    except (
        OSError, UnreadableError, ValueError, OverflowError, zipfile.BadZipFile, NotImplementedError
    ) as error:  # fmt: skip
        raise SaganError(f"cannot read the zip '{path}': {error}") from None
    columns = np.frombuffer(directory.records, dtype=np.uint64).reshape(-1, 6).T
    members = np.zeros(len(directory.names), dtype=_MEMBER)
    for field, column in zip(_MEMBER.names or (), columns, strict=False):
        members[field] = column
    members["overlaps"] = _overlapping(members)
    return directory.names, members


def usable_names(names: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Return the images' names in order, each with its place in `names`; and notes."""
    indices: dict[str, int] = {}
    unsafe, repeated = [], []
    for index, name in enumerate(names):
        if _is_unsafe(name):
            unsafe.append(name)
        elif is_image_name(name):
            if name in indices:
                repeated.append(name)
            # Of two members with one name the later counts, as it would after extracting.
            indices[name] = index
    notes = list(unread_note(names))
    if unsafe:
        notes.append(
            f"{len(unsafe)} members whose names point out of the archive are left out, "
            f"such as '{min(unsafe)}'"
        )
    if repeated:
        notes.append(
            f"{len(repeated)} members have the name of a later one, which counts, "
            f"such as '{min(repeated)}'"
        )
    return dict(sorted(indices.items())), notes


def plain_name(name: str) -> str:
    """Return a member's name with forward slashes."""
    # Some archivers on Windows write backslashes.
    return name.replace("\\", "/").removeprefix("./")


def _is_unsafe(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/") or name[1:2] == ":"


def _overlapping(members: Members) -> BoolArray:
    """Find members that begin within another one's data, as in a zip bomb that reuses it."""
    order = np.argsort(members["offset"], kind="stable")
    starts = members["offset"][order]
    # In floating point, because a hostile size would wrap around.
    ends = starts.astype(np.float64) + _LOCAL_HEADER_BYTES + members["packed"][order]
    overlaps = np.zeros(len(members), dtype=np.bool_)
    overlaps[order[1:]] = np.maximum.accumulate(ends)[:-1] > starts[1:]
    return overlaps


def read_member(path: str, member: Member) -> bytes:
    """Read one member of a zip.

    `zipfile` does it only for compressions other than the usual two: it first reads the directory
    of the whole archive, once in each process, and takes 40 µs a member where this takes 10.

    Raises:
        UnreadableError: it is encrypted, damaged or too large, or overlaps another member.
    """
    offset, packed, size, crc, method, encrypted, overlaps = member
    if encrypted:
        raise UnreadableError("encrypted")
    if overlaps:
        raise UnreadableError("overlaps another member of the zip")
    if max(size, packed) > MAX_IMAGE_BYTES:
        raise UnreadableError(f"larger than {MAX_IMAGE_BYTES // 1024**2} MiB")
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return _read_by_zipfile(path, offset, size)
    try:
        data = _read_packed(path, offset, packed)
        if method == zipfile.ZIP_DEFLATED:
            # Inflating stops at this number of bytes, however many the member contains.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, max(size, 1))
    except (zlib.error, struct.error, zipfile.BadZipFile) as error:
        raise UnreadableError(str(error)) from None
    if len(data) != size or zlib.crc32(data) != crc:
        raise UnreadableError("damaged in the zip: its CRC-32 is not what it should be")
    return data


def _read_packed(path: str, offset: int, packed: int) -> bytes:
    """Read a member's data as it is in the archive, compressed or not."""
    # All in one read, unless name and extra field are unusually long.
    block = read_part(path, offset, _LOCAL_HEADER_BYTES + _USUAL_NAME_BYTES + packed)
    if block[:4] != _LOCAL_SIGNATURE:
        raise zipfile.BadZipFile("the zip's directory points to a place without a member")
    name_bytes, extra_bytes = struct.unpack_from("<HH", block, 26)
    start = _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
    if start + packed > len(block):
        return read_part(path, offset + start, packed)
    return block[start : start + packed]


def _read_by_zipfile(path: str, offset: int, size: int) -> bytes:
    try:
        archive, members = _open_zip(path, Path(path).stat().st_mtime_ns)
        with archive.open(members[offset]) as file:
            return file.read(size)
    except Exception as error:
        # On damaged members, zipfile raises whatever the decompressors and struct do.
        raise UnreadableError(str(error) or type(error).__name__) from None


@lru_cache(maxsize=1)
def _open_zip(path: str, changed: int) -> tuple[zipfile.ZipFile, dict[int, zipfile.ZipInfo]]:
    """Open an archive, reading its directory once in each process until the file changes.

    Returns:
        The archive, which closes the file when the cache drops it; its members by their offsets, as
        two may have one name, and `plain_name` is not always the name in the archive.
    """
    archive = zipfile.ZipFile(path)
    return archive, {member.header_offset: member for member in archive.infolist()}
