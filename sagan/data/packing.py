"""Any source -> a packed set, in bounded memory, all or nothing."""

import contextlib
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from sagan.data.decode import Fit, UInt8Array, UnreadableError, check_size_and_fit
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
from sagan.data.sources import Source, open_source
from sagan.data.workers import map_pictures
from sagan.errors import SaganError

Progress = Callable[[int, int], None]

# A few broken files are the world; more of them mean that something is wrong with the source.
MAX_UNREADABLE = 0.1


def pack(
    source: str | Source,
    out: Path,
    size: int,
    *,
    fit: str = "crop",
    split: str = "train",
    progress: Progress | None = None,
) -> PackedDataset:
    """Decode every picture of a source once, and save them as a packed set in the folder `out`.

    Unreadable files are skipped and listed in pack.json with the reason. Everything is written to a
    hidden folder beside `out`, which takes that name when it is complete: whatever happens, `out`
    is a whole packed set, or what it was before. A packed set that is there is replaced.

    Args:
        source: "openmoji", a folder or a zip; or a source that is open already, whose own split
            then counts.
        out: the folder to make; its parents are made where missing.
        size: S, 1 to 4096.
        fit: "crop" to the centred square, "pad" with white, or "stretch".
        split: which part of the source, where it has parts.
        progress: called with (pictures done, pictures in all) after each picture.

    Raises:
        SaganError: an argument is out of range, the source cannot be used, more than 10 % of its
            pictures are unreadable, `out` holds something else, or the disk is full.
    """
    checked_fit = check_size_and_fit(size, fit)
    _check_replaceable(out)
    if isinstance(source, str):
        source = open_source(source, split)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_beside(out) as folder:
            _write_set(source, folder, size, checked_fit, progress)
            _publish(folder, out)
    except OSError as error:
        raise SaganError(
            f"cannot write the packed data set '{out}': {error.strerror or error}"
        ) from None
    return PackedDataset.open(out)


def _check_replaceable(out: Path) -> None:
    if out.is_dir() and (is_packed(out) or not any(out.iterdir())):
        return
    if out.exists() or out.is_symlink():
        raise SaganError(
            f"'{out}' exists and is not a packed data set: choose another place or remove it"
        )


@contextlib.contextmanager
def _temporary_beside(out: Path) -> Iterator[Path]:
    """A folder of a name that no other process uses, on the same disk; removed if still there."""
    folder = out.parent / f".{out.name}.{uuid.uuid4().hex}.tmp"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, out: Path) -> None:
    _sync(folder)
    if out.is_dir() and any(out.iterdir()):
        # A folder cannot be renamed onto one with content. The old one goes aside first, so that at
        # every moment the name has the old set, the new one or (briefly) nothing.
        with _temporary_beside(out) as old:
            out.rename(old / "replaced")
            folder.rename(out)
    else:
        folder.rename(out)
    _sync(out.parent)


def _sync(folder: Path) -> None:
    if os.name == "nt":  # has no such thing
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_set(
    source: Source, folder: Path, size: int, fit: Fit, progress: Progress | None
) -> None:
    labels: list[int] = []
    skipped: list[SkippedFile] = []
    fingerprint = Fingerprint()

    def images() -> Iterator[UInt8Array]:
        work = partial(source.decode, size=size, fit=fit)
        with contextlib.closing(map_pictures(work, source.pictures(), len(source))) as results:
            for done, (picture, image) in enumerate(results, 1):
                if isinstance(image, UnreadableError):
                    skipped.append(SkippedFile(name=picture.name, reason=str(image)))
                    _check_unreadable(source, skipped)
                else:
                    labels.append(picture.label)
                    fingerprint.update(image)
                    yield image
                if progress is not None:
                    progress(done, len(source))

    with _synced(folder / IMAGES) as file:
        shape = (_write_rows(file, images(), size), size, size, 3)
    label_array = np.array(labels, dtype=np.int64) if source.classes else None
    if label_array is not None:
        with _synced(folder / LABELS) as file:
            np.save(file, label_array, allow_pickle=False)
    counts = Counter(labels)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        source=source.name,
        split=source.split,
        fit=fit,
        size=size,
        num_images=len(labels),
        classes=source.classes,
        counts=tuple(counts[label] for label in range(len(source.classes))),
        skipped=tuple(skipped),
        notes=source.notes,
        fingerprint=fingerprint.close(shape, label_array, source.classes),
    )
    with _synced(folder / MANIFEST) as file:
        file.write(manifest.model_dump_json(indent=1).encode())


def _check_unreadable(source: Source, skipped: list[SkippedFile]) -> None:
    if len(skipped) > MAX_UNREADABLE * len(source):
        first = skipped[0]
        raise SaganError(
            f"too many unreadable pictures in {source.name}: {len(skipped)} of {len(source)} so "
            f"far, such as '{first.name}' ({first.reason}); repair or remove them"
        )


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write_rows(file: BinaryIO, images: Iterator[UInt8Array], size: int) -> int:
    """Write an .npy file of as many images uint8 (size, size, 3) as come; return how many.

    The header comes first and holds the number, which is known last. NumPy leaves room in it for
    any number of rows, so that it can be written over.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (0, size, size, 3)}
    npy.write_array_header_1_0(file, header)
    start, num = file.tell(), 0
    for image in images:
        file.write(image.data)
        num += 1
    file.seek(0)
    npy.write_array_header_1_0(file, {**header, "shape": (num, size, size, 3)})
    if file.tell() != start:
        raise RuntimeError("NumPy wrote two .npy headers of different lengths")
    return num
