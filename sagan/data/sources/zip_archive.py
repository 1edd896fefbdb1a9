"""Pictures in a zip archive, read in place and never extracted."""

import os
import struct
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sagan.data.sources.base import SourceImage, digest_of
from sagan.data.sources.dataset_json import DATASET_JSON, arrange_by_json
from sagan.data.sources.tree import Arrangement, arrange, is_image_name, printable, unread_note
from sagan.errors import SaganError, UnreadableError
from sagan.images.decode import decode, examine
from sagan.storage.files import MAX_IMAGE_BYTES

# What of a member is kept: 35 bytes, where a ZipInfo is a kilobyte and archives have millions.
_MEMBER = np.dtype(
    [("offset", "u8"), ("packed", "u8"), ("size", "u8"), ("crc", "u4"), ("method", "u2"),
     ("encrypted", "?"), ("overlaps", "?")]
)  # fmt: skip
Members = npt.NDArray[np.void]
# A member: its header's offset, compressed and plain size, CRC-32, compression method, whether it
# is encrypted, and whether it lies within another member.
Member = tuple[int, int, int, int, int, bool, bool]

_BLOCK = 1000
_LOCAL_HEADER_BYTES = 30
_USUAL_NAME_BYTES = 128
_LOCAL_SIGNATURE = b"PK\x03\x04"


class ZipSource:
    """Pictures in a zip archive; see `tree.arrange` for what its folders mean."""

    decode = staticmethod(decode)
    examine = staticmethod(examine)

    def __init__(self, path: Path, split: str) -> None:
        self.name = printable(str(path))
        self.split = split
        self._path = path
        self._names, self._members, labels, notes = _list(path)
        self._layout = self._arranged(labels)
        self.splits, self.classes = self._layout.splits, self._layout.classes
        self.notes = self._layout.notes + notes

    def _arranged(self, labels: Member | None) -> Arrangement:
        if labels is None:
            return arrange(self._names, self.split, self.name)
        try:
            data = read_member(str(self._path), DATASET_JSON, labels)
        except UnreadableError as error:
            raise SaganError(f"cannot read {DATASET_JSON} in {self.name}: {error}") from None
        return arrange_by_json(self._names, data, self.split, self.name)

    @property
    def num_images(self) -> int:
        return len(self._layout.files)

    def images(self) -> Iterator[SourceImage]:
        path, files = str(self._path), self._layout.files
        for start in range(0, len(files), _BLOCK):
            block = files[start : start + _BLOCK]
            # A thousand at once take a tenth of the time of each by itself.
            members = self._members[[index for index, _ in block]].tolist()
            for (index, label), member in zip(block, members, strict=True):
                name = self._names[index]
                yield SourceImage(name, label, partial(read_member, path, name, member))

    def listing_digest(self) -> str:
        entries = (
            (self._names[index], label, *self._members[index].item())
            for index, label in self._layout.files
        )
        return digest_of("zip", self._path, self.classes, entries)


class _Directory(zipfile.ZipFile):
    """A zip's directory, of which names and members are kept and nothing else.

    ZipFile adds a ZipInfo to the list `filelist` and to the dictionary `NameToInfo` for every
    member: 600 bytes each, a gigabyte for ImageNet. Here both take what they are given and forget.
    """

    def __init__(self, path: Path) -> None:
        self.names: list[str] = []
        self.records = array("Q")
        with path.open("rb") as file:
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
            self.names.append(_plain_name(info.filename))
            self.records.extend(
                (info.header_offset, info.compress_size, info.file_size, info.CRC,
                 info.compress_type, info.flag_bits & 1)
            )  # fmt: skip

    def members(self) -> Members:
        """All members, in the order of `names`."""
        columns = np.frombuffer(self.records, dtype=np.uint64).reshape(-1, 6)
        members = np.zeros(len(columns), dtype=_MEMBER)
        for number, field in enumerate(_MEMBER.names or ()):
            if number < 6:
                members[field] = columns[:, number]
        members["overlaps"] = _overlapping(members)
        return members


class _Sink(list[zipfile.ZipInfo]):
    """A list that stays empty."""

    def __init__(self, directory: _Directory) -> None:
        super().__init__()
        self._directory = directory

    def append(self, info: zipfile.ZipInfo) -> None:
        self._directory.add(info)


def _list(path: Path) -> tuple[list[str], Members, Member | None, tuple[str, ...]]:
    """Pictures' names in order, their members, dataset.json's, and what the user should hear."""
    try:
        directory = _Directory(path)
    except (OSError, ValueError, OverflowError, zipfile.BadZipFile, NotImplementedError) as error:
        raise SaganError(f"cannot read the zip '{path}': {error}") from None
    names, members = directory.names, directory.members()
    labels = names.index(DATASET_JSON) if DATASET_JSON in names else None
    chosen = {}
    unsafe, doubled = [], []
    for index, name in enumerate(names):
        if _is_unsafe(name):
            unsafe.append(name)
        elif is_image_name(name):
            if name in chosen:
                doubled.append(name)
            # Of two members with one name the later counts, as it would after extracting.
            chosen[name] = index
    notes = list(unread_note(names))
    if unsafe:
        notes.append(
            f"{len(unsafe)} members whose names point out of the archive are left out, "
            f"such as '{min(unsafe)}'"
        )
    if doubled:
        notes.append(
            f"{len(doubled)} members have the name of a later one, which counts, "
            f"such as '{min(doubled)}'"
        )
    ordered = sorted(chosen)
    picked = members[[chosen[name] for name in ordered]]
    return ordered, picked, None if labels is None else members[labels].item(), tuple(notes)


def _plain_name(name: str) -> str:
    # Some archivers on Windows write backslashes.
    return name.replace("\\", "/").removeprefix("./")


def _is_unsafe(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/") or name[1:2] == ":"


def _overlapping(members: Members) -> npt.NDArray[np.bool_]:
    """Which members begin within another one's data, as in a zip bomb that inflates it often."""
    order = np.argsort(members["offset"], kind="stable")
    starts = members["offset"][order]
    # In floating point, because a hostile size would wrap around.
    ends = starts.astype(np.float64) + _LOCAL_HEADER_BYTES + members["packed"][order]
    overlaps = np.zeros(len(members), dtype=np.bool_)
    overlaps[order[1:]] = np.maximum.accumulate(ends)[:-1] > starts[1:]
    return overlaps


def read_member(path: str, name: str, member: Member) -> bytes:
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
    try:
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return _read_by_zipfile(path, name, size)
        data = _read_packed(path, offset, packed)
        if method == zipfile.ZIP_DEFLATED:
            # With a number of bytes, inflating stops there, whatever the member goes on to hold.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, max(size, 1))
    except (OSError, zlib.error, struct.error, zipfile.BadZipFile) as error:
        raise UnreadableError(str(error)) from None
    if len(data) != size or zlib.crc32(data) != crc:
        raise UnreadableError("damaged in the zip: its CRC-32 is not what it should be")
    return data


def _read_packed(path: str, offset: int, packed: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # In one read, unless name and extra field are unusually long.
        block = os.pread(descriptor, _LOCAL_HEADER_BYTES + _USUAL_NAME_BYTES + packed, offset)
        if block[:4] != _LOCAL_SIGNATURE:
            raise zipfile.BadZipFile("no member where the zip's directory says")
        name_bytes, extra_bytes = struct.unpack_from("<HH", block, 26)
        start = _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        if start + packed > len(block):
            return os.pread(descriptor, packed, offset + start)
        return block[start : start + packed]
    finally:
        os.close(descriptor)


def _read_by_zipfile(path: str, name: str, size: int) -> bytes:
    try:
        with _archive(path, Path(path).stat().st_mtime_ns).open(name) as file:
            return file.read(size)
    except Exception as error:
        # zipfile lets through what the decompressors and struct raise on damaged members.
        raise UnreadableError(str(error) or type(error).__name__) from None


@lru_cache(maxsize=1)
def _archive(path: str, changed: int) -> zipfile.ZipFile:
    """The archive, its directory read once in each process."""
    return zipfile.ZipFile(path)
