"""CIFAR-10 and CIFAR-100 as their authors publish them: an archive or its unpacked folder.

The binary version consists of records: one label byte (CIFAR-100: a coarse and a fine one) and 3072
bytes of pixels. The python version consists of pickles, which `cifar_pickle` reads.
"""

import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from PIL import Image

from sagan.data.sources.base import SourceImage, digest_of, file_entries
from sagan.data.sources.cifar_pickle import read_pickle
from sagan.data.sources.names import printable_name
from sagan.data.sources.tar_archive import open_tar
from sagan.data.sources.tree import ALL_SPLITS
from sagan.errors import SaganError, UnreadableError
from sagan.images.decode import Fit, ImageFacts, contrast_of, fitted
from sagan.images.shape import Colors, Resolution
from sagan.images.signature import signature
from sagan.storage.files import open_file, read_file
from sagan.types import UInt8Array

SIDE = 32
PIXEL_BYTES = 3 * SIDE * SIDE
# Its authors ask to be cited; they do not state a license.
REFERENCE = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
# CIFAR-100's train file, the largest, has 155 MB.
MAX_PART_BYTES = 256 * 1024**2

# Labels and encoded images, PIXEL_BYTES each, of one file of the set.
CifarPart = tuple[Sequence[int], Sequence[bytes]]


@dataclass(frozen=True)
class Form:
    """One of the four forms in which CIFAR is published.

    Attributes:
        title: its name for people.
        parts: the files of each split, in order.
        meta: the file with the class names.
        read_names: from that file's content to the names.
        read_part: from the content of one of `parts` to labels and images.
    """

    title: str
    parts: dict[str, tuple[str, ...]]
    meta: str
    read_names: Callable[[bytes], tuple[str, ...]]
    read_part: Callable[[bytes], CifarPart]


class Container(Protocol):
    """The place of a set's files."""

    @property
    def path(self) -> Path:
        """The archive or folder itself."""

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises SaganError."""


class CifarSource:
    """The images of CIFAR-10 or CIFAR-100 (its 100 fine classes), numbered as published."""

    splits: tuple[str, ...] = ("test", "train")
    attributes = None
    num_images: int | None = None  # known only when the last file is open

    def __init__(self, container: Container, form: Form, split: str) -> None:
        self.name = printable_name(str(container.path))
        self.split = split
        if split not in (*form.parts, ALL_SPLITS):
            raise SaganError(
                f"no split '{split}' in '{self.name}': it has test, train; "
                f"choose one with --split, or {ALL_SPLITS}"
            )
        chosen = form.parts if split == ALL_SPLITS else (split,)
        self._parts = [part for name in chosen for part in form.parts[name]]
        self._container = container
        self._form = form
        try:
            self.classes = form.read_names(container.read(form.meta))
        except ValueError as error:
            raise SaganError(f"cannot read {form.meta} in '{self.name}': {error}") from None
        self.notes: tuple[str, ...] = (f"{form.title}, as published",)
        self.credits = f"{form.title.partition(',')[0]}: {REFERENCE}"

    def images(self) -> Iterator[SourceImage]:
        for part in self._parts:
            try:
                labels, images = self._form.read_part(self._container.read(part))
            except ValueError as error:
                raise SaganError(f"cannot read {part} in '{self.name}': {error}") from None
            for number, (label, pixels) in enumerate(zip(labels, images, strict=True)):
                if not 0 <= label < len(self.classes):
                    raise SaganError(f"{part} in '{self.name}' has a label {label} without a name")
                yield SourceImage(f"{part}/{number:05}", label, partial(bytes, pixels))

    def listing_digest(self) -> str:
        path = self._container.path
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return digest_of("cifar", path, self.classes, file_entries(files))

    @staticmethod
    def decode(data: bytes, size: Resolution, fit: Fit, *, colors: Colors = "rgb") -> UInt8Array:
        return decode_planes(data, size, fit, colors)

    @staticmethod
    def examine(data: bytes) -> ImageFacts:
        return examine_planes(data)


def decode_planes(data: bytes, size: Resolution, fit: Fit, colors: Colors = "rgb") -> UInt8Array:
    """Decode a red, a green and a blue plane of 32 x 32 bytes to uint8 (H, W, C).

    Raises:
        UnreadableError: there are not 3072 bytes.
    """
    if len(data) != PIXEL_BYTES:
        raise UnreadableError(f"{len(data)} bytes of pixels, not {PIXEL_BYTES}")
    planes = np.frombuffer(data, dtype=np.uint8).reshape(3, SIDE, SIDE)
    image = Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))
    return fitted(image, size, fit, colors)


def examine_planes(data: bytes) -> ImageFacts:
    """Return the facts about planes, as `decode.examine` does for image files."""
    image = Image.fromarray(decode_planes(data, SIDE, "crop"))
    return ImageFacts(
        SIDE, SIDE, "RGB", "CIFAR", contrast=contrast_of(image), signature=signature(image)
    )


@dataclass(frozen=True)
class InFolder:
    """The files of a set in the folder where they were unpacked."""

    path: Path

    def read(self, name: str) -> bytes:
        file = self.path / name
        try:
            return read_file(file, MAX_PART_BYTES)
        except UnreadableError as error:
            raise SaganError(f"cannot read '{file}': {error}") from None


@dataclass(frozen=True)
class InTar:
    """The files of a set in the archive as downloaded; nothing is extracted."""

    path: Path

    def read(self, name: str) -> bytes:
        try:
            with open_file(self.path) as file, _open_tar(file) as archive:
                for member in archive:
                    if member.isfile() and Path(member.name).name == name:
                        return self._content(archive, member)
        except SaganError:
            raise
        except Exception as error:  # tarfile raises whatever the decompressors do
            raise SaganError(f"cannot read {name} in '{self.path}': {error}") from None
        raise SaganError(f"'{self.path}' has no {name}: download it again")

    def _content(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        file = archive.extractfile(member)
        if not file or member.size > MAX_PART_BYTES:
            raise SaganError(f"{member.name} in '{self.path}' cannot be a part of CIFAR")
        with file:
            return file.read()


def _open_tar(file: BinaryIO) -> tarfile.TarFile:
    """Open a tar by what it begins with; tarfile would try all its decompressors in turn.

    One of them reads files of zeros to their end.
    """
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return open_tar(file, "r:gz")
    if start.startswith(b"BZh"):
        return open_tar(file, "r:bz2")
    if start == b"\xfd7zXZ\0":
        return open_tar(file, "r:xz")
    return open_tar(file)


def first_names(path: Path) -> list[str]:
    """Return the first few names in a tar, without their folders; none for any other file."""
    try:
        with open_file(path) as file, _open_tar(file) as archive:
            names, num_bytes = [], 0
            for member in islice(archive, 16):
                # The step to the next one unpacks this one: a few bytes may become terabytes.
                num_bytes += member.size
                if num_bytes > 2 * MAX_PART_BYTES:
                    break
                names += [Path(member.name).name] if member.isfile() else []
            return names
    except Exception:  # tarfile raises whatever the decompressors do
        return []


def form_of(names: Iterable[str]) -> Form | None:
    """Return the form of CIFAR that has files of these names, if any."""
    present = set(names)
    for form in CIFAR_FORMS:
        if {form.meta, *form.parts["train"], *form.parts["test"]} <= present:
            return form
    return None


def _lines(data: bytes) -> tuple[str, ...]:
    return tuple(data.decode("ascii", "replace").split())


def _records(data: bytes, num_labels: int) -> CifarPart:
    record = num_labels + PIXEL_BYTES
    if not data or len(data) % record:
        raise ValueError(f"{len(data)} bytes are not a whole number of records of {record}")
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, record)
    return rows[:, num_labels - 1].tolist(), _Rows(rows[:, num_labels:])


class _Rows(Sequence[bytes]):
    """The rows of a matrix as bytes, each copied when it is indexed."""

    def __init__(self, rows: UInt8Array) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        if index >= len(self):
            raise IndexError
        return self._rows[index].tobytes()


def _pickled_names(data: bytes, key: str) -> tuple[str, ...]:
    names = read_pickle(data).get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SaganError(f"CIFAR's file of class names has no list {key}")
    return tuple(names)


def _pickled_part(data: bytes, key: str) -> CifarPart:
    content = read_pickle(data)
    labels, rows = content.get(key), content.get("data")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise ValueError(f"no list of {key}")
    if not isinstance(rows, np.ndarray) or rows.shape != (len(labels), PIXEL_BYTES):
        raise ValueError(f"no array of {len(labels)} x {PIXEL_BYTES} pixels")
    return labels, _Rows(rows)


CIFAR_FORMS = (
    Form(
        "CIFAR-10, python version",
        {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
        "batches.meta",
        partial(_pickled_names, key="label_names"),
        partial(_pickled_part, key="labels"),
    ),
    Form(
        "CIFAR-10, binary version",
        {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
        "batches.meta.txt",
        _lines,
        partial(_records, num_labels=1),
    ),
    Form(
        "CIFAR-100, python version, fine labels",
        {"train": ("train",), "test": ("test",)},
        "meta",
        partial(_pickled_names, key="fine_label_names"),
        partial(_pickled_part, key="fine_labels"),
    ),
    Form(
        "CIFAR-100, binary version, fine labels",
        {"train": ("train.bin",), "test": ("test.bin",)},
        "fine_label_names.txt",
        _lines,
        partial(_records, num_labels=2),
    ),
)
