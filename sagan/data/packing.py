"""Any source -> a packed set, in bounded memory, all or nothing."""

import contextlib
import os
import shutil
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from sagan.data.chunks import decode_chunk
from sagan.data.duplicates import DuplicateFinder
from sagan.data.packed import (
    FORMAT_VERSION,
    IMAGES,
    LABELS,
    MANIFEST,
    Fingerprint,
    Manifest,
    PackedDataset,
    SkippedFile,
    is_packed,
)
from sagan.data.sources.base import Source
from sagan.data.sources.open import open_source
from sagan.data.sources.tree import DEFAULT_SPLIT
from sagan.data.workers import map_chunks
from sagan.errors import SaganError
from sagan.images.decode import Fit, check_size_and_fit
from sagan.storage.staging import replace, staged
from sagan.types import Int64Array, Progress, UInt8Array

Publish = Callable[[Path, Path], None]

# A few broken files are the world; more of them mean that something is wrong with the source.
MAX_UNREADABLE = 0.1
# Of a source that does not know how many pictures it has: so many, before their share is a share.
_ENOUGH_TO_JUDGE = 1000
_NAMES = "names.tmp"


def pack(
    source: str | Source,
    out: Path,
    size: int,
    *,
    fit: str = "crop",
    split: str = DEFAULT_SPLIT,
    max_unreadable: float = MAX_UNREADABLE,
    publish: Publish = replace,
    progress: Progress | None = None,
) -> PackedDataset:
    """Decode every picture of a source once, and save them as a packed set in the folder `out`.

    Unreadable files are skipped and listed in pack.json with the reason, and so are pictures that
    are there twice, which are kept. Everything is written to a hidden folder beside `out`, which
    takes that name when it is complete: whatever happens, `out` is a whole packed set, or what it
    was before. A packed set that is there is replaced.

    Args:
        source: as for `open_source`; or a source that is open already, whose own split then counts.
        out: the folder to make; its parents are made where missing.
        size: S, 1 to 4096.
        fit: "crop" to the centered square, "pad" with white, or "stretch".
        split: which part of the source, where it has parts.
        max_unreadable: the share of unreadable pictures, 0 to 1, above which to stop.
        publish: how the finished folder takes its name: `replace` or `keep_first`.
        progress: called with (pictures done, pictures in all) as they get done; the latter is None
            where only reading them all would tell.

    Raises:
        SaganError: an argument is out of range, the source cannot be used, too many of its pictures
            are unreadable, `out` holds something else, or the disk has no room.
    """
    checked_fit = check_size_and_fit(size, fit)
    if not 0 <= max_unreadable <= 1:
        raise SaganError(f"the share of unreadable pictures {max_unreadable} is not in 0 to 1")
    _check_replaceable(out)
    if isinstance(source, str):
        source = open_source(source, split)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with staged(out) as folder:
            _check_room(source, out, size)
            writer = _SetWriter(source, folder, size, checked_fit, max_unreadable)
            writer.write(progress)
            publish(folder, out)
    except OSError as error:
        raise SaganError(
            f"cannot write the packed data set '{out}': {error.strerror or error}"
        ) from None
    return PackedDataset.open(out)


def packed_bytes(num_pictures: int, size: int) -> int:
    """How large images.npy and labels.npy will be for so many pictures (S, S, 3)."""
    return num_pictures * (size * size * 3 + 8)


def _check_replaceable(out: Path) -> None:
    if out.is_dir() and (is_packed(out) or not any(out.iterdir())):
        return
    if out.exists() or out.is_symlink():
        raise SaganError(
            f"'{out}' exists and is not a packed data set: choose another place or remove it"
        )


def _check_room(source: Source, out: Path, size: int) -> None:
    """Refuse at once what would fill the disk in an hour."""
    if source.num_pictures is None:
        return
    needed = packed_bytes(source.num_pictures, size)
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise SaganError(
            f"packing {source.num_pictures:,} pictures at {size} x {size} takes "
            f"{needed / 1e9:.1f} GB, and the disk of '{out}' has {free / 1e9:.1f} GB left: make "
            "room, choose another place or a smaller size"
        )


class _SetWriter:
    """Writes one packed set into an empty folder."""

    def __init__(
        self, source: Source, folder: Path, size: int, fit: Fit, max_unreadable: float
    ) -> None:
        self._source = source
        self._folder = folder
        self._size = size
        self._fit: Fit = fit
        self._max_unreadable = max_unreadable
        self._labels = array("q")
        self._skipped: list[SkippedFile] = []
        self._fingerprint = Fingerprint()
        self._duplicates = DuplicateFinder(folder / _NAMES)

    def write(self, progress: Progress | None) -> None:
        """Write images.npy, labels.npy and pack.json."""
        with contextlib.closing(self._duplicates), _synced(self._folder / IMAGES) as file:
            num = _write_rows(file, self._images(progress), self._size)
        self._check_unreadable(len(self._skipped) + num)
        if not num:
            raise SaganError(f"no pictures in {self._source.name}")
        labels = np.array(self._labels, dtype=np.int64) if self._source.classes else None
        if labels is not None:
            with _synced(self._folder / LABELS) as file:
                np.save(file, labels, allow_pickle=False)
        manifest = self._manifest((num, self._size, self._size, 3), labels)
        (self._folder / _NAMES).unlink()
        with _synced(self._folder / MANIFEST) as file:
            file.write(manifest.model_dump_json(indent=1).encode())

    def _images(self, progress: Progress | None) -> Iterator[UInt8Array]:
        """Readable pictures (n, S, S, 3), a chunk at a time."""
        source = self._source
        work = partial(decode_chunk, decode=source.decode, size=self._size, fit=self._fit)
        chunks = map_chunks(
            work, source.pictures(), source.num_pictures, packed_bytes(1, self._size)
        )
        done = 0
        with contextlib.closing(chunks):
            for pictures, chunk in chunks:
                done += len(pictures)
                for index, reason in chunk.unreadable.items():
                    self._skipped.append(SkippedFile(name=pictures[index].name, reason=reason))
                if chunk.unreadable and (
                    source.num_pictures is not None or done > _ENOUGH_TO_JUDGE
                ):
                    self._check_unreadable(source.num_pictures or done)
                readable = [p for n, p in enumerate(pictures) if n not in chunk.unreadable]
                self._labels.extend(picture.label for picture in readable)
                self._fingerprint.update(chunk.images)
                self._duplicates.add((picture.name for picture in readable), chunk.hashes)
                yield chunk.images
                if progress is not None:
                    progress(done, source.num_pictures)

    def _check_unreadable(self, num_pictures: int) -> None:
        if len(self._skipped) > self._max_unreadable * num_pictures:
            first = self._skipped[0]
            raise SaganError(
                f"too many unreadable pictures in {self._source.name}: {len(self._skipped)} of "
                f"{num_pictures} so far, such as '{first.name}' ({first.reason}); repair or remove "
                "them, or allow for more with --max-unreadable"
            )

    def _manifest(self, shape: tuple[int, ...], labels: Int64Array | None) -> Manifest:
        source = self._source
        counts: tuple[int, ...] = ()
        if labels is not None:
            counts = tuple(np.bincount(labels, minlength=len(source.classes)).tolist())
        num_copies, duplicates = self._duplicates.groups(
            np.load(self._folder / IMAGES, mmap_mode="r", allow_pickle=False)
        )
        return Manifest(
            format_version=FORMAT_VERSION,
            source=source.name,
            split=source.split,
            fit=self._fit,
            size=self._size,
            num_images=shape[0],
            classes=source.classes,
            counts=counts,
            skipped=tuple(self._skipped),
            num_copies=num_copies,
            duplicates=duplicates,
            notes=source.notes,
            fingerprint=self._fingerprint.close(shape, labels, source.classes),
        )


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb", buffering=1024**2) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write_rows(file: BinaryIO, chunks: Iterator[UInt8Array], size: int) -> int:
    """Write an .npy file of as many images uint8 (n, size, size, 3) as come; return how many.

    The header comes first and holds the number, which is known last. NumPy leaves room in it for
    any number of rows, so that it can be written over.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (0, size, size, 3)}
    npy.write_array_header_1_0(file, header)
    start, num = file.tell(), 0
    for images in chunks:
        file.write(images.data)
        num += len(images)
    file.seek(0)
    npy.write_array_header_1_0(file, {**header, "shape": (num, size, size, 3)})
    if file.tell() != start:
        raise RuntimeError("NumPy wrote two .npy headers of different lengths")
    return num
