"""Images in a .tar that contains a folder of images, read in place and never extracted."""

import tarfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from sagan.data.sources.base import SourceImage, digest_of
from sagan.data.sources.named import NamedSource
from sagan.data.sources.names import is_image_name, printable_name
from sagan.data.sources.zip_archive import plain_name, usable_names
from sagan.errors import SaganError, UnreadableError
from sagan.storage.files import MAX_IMAGE_BYTES, open_file, read_part

# This many members show whether a tar is a webdataset.
_ENOUGH_TO_JUDGE = 1000


def is_tar_of_folders(path: Path) -> bool:
    """Whether a .tar has images in folders and none of the labels (.cls) of a webdataset."""
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            names = [
                plain_name(member.name)
                for member in islice(archive, _ENOUGH_TO_JUDGE)
                if member.isreg()
            ]
    except (UnreadableError, OSError, tarfile.TarError, ValueError):
        return False  # which opening it as a table will explain
    in_folders = any("/" in name and is_image_name(name) for name in names)
    return in_folders and not any(name.endswith(".cls") for name in names)


class TarSource(NamedSource):
    """Images in a .tar without compression."""

    def __init__(self, path: Path, split: str) -> None:
        found, places = _list(path)
        indices, notes = usable_names(found)
        self._places = [places[index] for index in indices.values()]

        def read(name: str) -> bytes:
            return read_place(str(path), *places[found.index(name)])

        super().__init__(path, split, found, list(indices), notes, read)

    def images(self) -> Iterator[SourceImage]:
        path = str(self._path)
        for index, label in self._arrangement.files:
            read = partial(read_place, path, *self._places[index])
            yield SourceImage(printable_name(self._names[index]), label, read)

    def listing_digest(self) -> str:
        changed = self._path.stat().st_mtime_ns
        entries = (
            (self._names[index], label, *self._places[index], changed)
            for index, label in self._arrangement.files
        )
        return digest_of("tar", self._path, self.classes, entries)


def _list(path: Path) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the names of all files in a tar, and the offset and size of the content of each."""
    names, places = [], []
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                vars(archive)["members"].clear()  # tarfile would keep a kilobyte for each
                if member.isreg() and not member.issparse():
                    names.append(plain_name(member.name))
                    places.append((member.offset_data, member.size))
    except (UnreadableError, OSError, tarfile.TarError, ValueError) as error:
        raise SaganError(f"cannot read '{path}': {error}") from None
    return names, places


def read_place(path: str, offset: int, size: int) -> bytes:
    """Read one member of a tar from its place.

    Raises:
        UnreadableError: it is too large, or the archive ends before it does.
    """
    if size > MAX_IMAGE_BYTES:
        raise UnreadableError(f"larger than {MAX_IMAGE_BYTES // 1024**2} MiB")
    data = read_part(path, offset, size)
    if len(data) != size:
        raise UnreadableError("the archive ends within it")
    return data
