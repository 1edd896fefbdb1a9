"""What the user points at, as a stream of encoded pictures with labels.

A source names functions that read and decode a picture, rather than giving pixels: the processes
that decode then read as well. To add a kind of source, write a file with a class that has the
attributes of `Source`, and a line in `open_source`.
"""

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sagan.data.decode import Fit, PictureFacts, UInt8Array
from sagan.data.layout import DEFAULT_SPLIT
from sagan.errors import SaganError

WHAT_THERE_IS = (
    "a folder, a .zip, a packed data set, .parquet, .arrow or webdataset .tar files, "
    "CIFAR's own archives, 'hf:NAME' or 'openmoji'"
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a source, not read yet.

    name is unique within the source; label is in 0..K-1, or NO_LABEL in a source without classes;
    read() gives the encoded file and raises UnreadableError. It can be pickled, since another
    process may be the one to call it.
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

    @property
    def num_pictures(self) -> int | None:
        """How many pictures `pictures` yields; None where only reading them all would tell."""

    def pictures(self) -> Iterator[Picture]:
        """Yield every picture of the split.

        Raises SaganError where the source itself, rather than one picture, turns out damaged.
        """

    def listing_digest(self) -> str:
        """Sha256 hex over what is there, without reading any picture: changes when files do."""

    @property
    def decode(self) -> Decoder:
        """Turns what this source's pictures read as into pixels."""

    @property
    def examine(self) -> Callable[[bytes], PictureFacts]:
        """Says what a picture is; a module-level function, too. Raises UnreadableError."""


def open_source(source: str, split: str = DEFAULT_SPLIT) -> Source:
    """Find out what `source` is and list it.

    Each kind is imported here, when there is one to open: drawing, reading parquet and asking the
    hub need libraries that nothing else does.

    Args:
        source: "openmoji", "hf:NAME[:CONFIG][:SPLIT]", or a path to: a folder of pictures, a zip of
            the same, CIFAR-10's or -100's archive or unpacked folder, .parquet, .arrow or
            webdataset .tar files, or a folder of these.
        split: which part of it.

    Raises:
        SaganError: it is none of these, cannot be read, holds no pictures, or lacks the split.
    """
    if source == "openmoji":
        from sagan.data.openmoji import OpenMojiSource

        return OpenMojiSource(split)
    if source.startswith("hf:"):
        from sagan.data.hub import open_hub

        return open_hub(source, split)
    path = Path(source).expanduser()
    if not path.exists():
        raise SaganError(f"no data set at '{source}': give {WHAT_THERE_IS}")
    if path.is_dir():
        return _open_folder(path, split)
    if not path.is_file():  # a pipe or a device, of which reading may never end
        raise SaganError(f"'{source}' is not a file: give {WHAT_THERE_IS}")
    return _open_file(path, split)


def _open_folder(path: Path, split: str) -> Source:
    from sagan.data import cifar, tables
    from sagan.data.folder import FolderSource

    if form := cifar.recognise(entry.name for entry in path.iterdir()):
        return cifar.CifarSource(cifar.InFolder(path), form, split)
    if tables.holds_tables(path):
        return tables.open_folder(path, split)
    return FolderSource(path, split)


def _open_file(path: Path, split: str) -> Source:
    from sagan.data import cifar, tables
    from sagan.data.archive import ZipSource

    if zipfile.is_zipfile(path):
        return ZipSource(path, split)
    if form := cifar.recognise(cifar.first_names(path)):
        return cifar.CifarSource(cifar.InTar(path), form, split)
    if tables.kind_of(path):
        return tables.open_file(path, split)
    if path.suffix.lower() == ".zip":
        raise SaganError(
            f"cannot read the zip '{path}': its end is missing or damaged; copy or download it "
            "again"
        )
    raise SaganError(f"cannot use the file '{path}' as a data set: give {WHAT_THERE_IS}")


def digest_of(
    kind: str, path: Path, classes: tuple[str, ...], entries: Iterable[tuple[object, ...]]
) -> str:
    """Sha256 hex over a source's listing, for `Source.listing_digest`."""
    digest = hashlib.sha256()
    for entry in ((kind, str(path.resolve())), classes, *entries):
        # ascii escapes the lone surrogates of names that are not UTF-8.
        digest.update(ascii(entry).encode() + b"\n")
    return digest.hexdigest()


def file_entries(paths: Iterable[Path]) -> Iterator[tuple[object, ...]]:
    """What of files goes into a listing's digest: name, size and time of change."""
    for path in paths:
        status = path.stat()
        yield path.name, status.st_size, status.st_mtime_ns
