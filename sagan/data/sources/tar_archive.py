"""Images in one or several .tar of folders of images, read in place and never extracted."""

import re
import tarfile
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from sagan.data.sources.base import SourceImage, digest_of
from sagan.data.sources.folder import has_images, names_in
from sagan.data.sources.named import NamedSource
from sagan.data.sources.names import is_hidden, is_image_name, printable_name, split_of
from sagan.data.sources.zip_archive import plain_name, usable_names
from sagan.errors import SaganError, UnreadableError, counted
from sagan.storage.files import MAX_IMAGE_BYTES, open_file, read_part

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing only since Python 3.11

# tarfile reads these whole: they contain long names and other attributes of the next member.
_EXTENSIONS = {
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}  # fmt: skip
_MAX_EXTENSION_BYTES = 2**20

# This many members show whether a tar is a webdataset.
_ENOUGH_TO_JUDGE = 1000


# What numbers the shards of a set: "-0001", "_00001-of-00004".
_SHARD_NUMBER = re.compile(r"[-_. ]?\d+([-_ ]?of[-_ ]?\d+)?$", re.IGNORECASE)


class _Member(tarfile.TarInfo):
    """A member of a tar, refused if its attributes might not fit into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Self":
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENSIONS and member.size > _MAX_EXTENSION_BYTES:
            raise tarfile.ReadError(f"{member.size:,} bytes of attributes")
        return member


def open_tar(
    file: BinaryIO, mode: Literal["r:", "r:gz", "r:bz2", "r:xz"] = "r:"
) -> tarfile.TarFile:
    """Open a tar that may be anyone's.

    Raises:
        Exception: whatever tarfile and its decompressors raise.
    """
    return tarfile.open(fileobj=file, mode=mode, tarinfo=_Member)


def is_tar_of_images(path: Path) -> bool:
    """Whether a .tar is a folder of images, flat or not, and not a webdataset.

    The keys of a webdataset end at the first dot, which is anywhere in names of a flat folder.
    """
    names = _first_names(path)
    visible = [name for name in names if not is_hidden(name)]
    return _are_in_folders(names) or (bool(visible) and all(map(is_image_name, visible)))


def _are_in_folders(names: Collection[str]) -> bool:
    """Whether there are images in folders and none of the labels (.cls) of a webdataset."""
    in_folders = any("/" in name and is_image_name(name) for name in names)
    return in_folders and not any(name.endswith(".cls") for name in names)


def tars_of_folders(folder: Path) -> dict[Path, str]:
    """Return the .tar files of a set that is divided into several, each with its folder in the set.

    They are at the top of `folder`, or in sub-folders for splits. Either all contain folders of
    images, so that `train-1.tar` and `train-2.tar` are parts of one folder `train`, or each is one
    class, such as `cat.tar` and `dog.tar`.

    Returns:
        Nothing if it is another kind of set, such as webdataset files or a folder of images.
    """
    places = [folder, *(folder / name for name in names_in(folder) if _is_place(name))]
    tars = [
        place / name
        for place in places
        for name in names_in(place)
        if name.lower().endswith(".tar") and not name.startswith(".")
    ]
    if not tars or has_images(folder):
        return {}
    stems = [tar.relative_to(folder).with_suffix("").as_posix() for tar in tars]
    if all(_are_in_folders(_first_names(tar)) for tar in tars):
        return {t: _SHARD_NUMBER.sub("", s) for t, s in zip(tars, stems, strict=True)}
    if len(tars) > 1 and _are_classes(tars):
        return dict(zip(tars, stems, strict=True))
    return {}


def _is_place(name: str) -> bool:
    return name == "data" or split_of(name) is not None


def _are_classes(tars: Sequence[Path]) -> bool:
    """Whether each .tar is a class: called by a word, or as its images (n01440764_18.JPEG) are."""
    listed = [[name for name in _first_names(tar) if not is_hidden(name)] for tar in tars]
    if not all(names and all(map(is_image_name, names)) for names in listed):
        return False
    if all(n.startswith(t.stem) for t, names in zip(tars, listed, strict=True) for n in names):
        return True
    words = {_SHARD_NUMBER.sub("", tar.stem).lower() for tar in tars}
    return len(words) == len(tars) and not any(map(split_of, words)) and "" not in words


def _first_names(path: Path) -> list[str]:
    try:
        with open_file(path) as file, open_tar(file) as archive:
            return [
                plain_name(member.name)
                for member in islice(archive, _ENOUGH_TO_JUDGE)
                if member.isreg()
            ]
    except (UnreadableError, OSError, tarfile.TarError, ValueError):
        return []  # which opening it as a table will explain


class TarSource(NamedSource):
    """Images in .tar files without compression.

    Args:
        path: the file, or the folder of several.
        split: as for `NamedSource`.
        tars: as `tars_of_folders` returns them; by default `path` alone.
    """

    def __init__(self, path: Path, split: str, tars: Mapping[Path, str] | None = None) -> None:
        self._tars = list(tars or [path])
        found: list[str] = []
        taken: set[str] = set()  # by the tars before
        num_links = 0
        self._places: list[tuple[int, int, int]] = []
        for number, tar in enumerate(self._tars):
            names, places, unread = _list(tar)
            above = tars[tar] if tars else ""
            found += [_placed(above, name, tar.stem, taken) for name in names]
            taken.update(found[len(self._places) :])
            self._places += [(number, offset, size) for offset, size in places]
            num_links += unread
        indices, notes = usable_names(found)
        if num_links:
            links = counted(num_links, "link in the archive is", "links in the archive are")
            notes.append(
                f"{links} not read: give the folder, or pack its files with tar --dereference"
            )
        by_name = dict(zip(found, self._places, strict=True))
        self._places = [self._places[index] for index in indices.values()]

        def read(name: str) -> bytes:
            number, offset, size = by_name[name]
            return read_place(str(self._tars[number]), offset, size)

        super().__init__(path, split, found, list(indices), notes, read)

    def images(self) -> Iterator[SourceImage]:
        tars = list(map(str, self._tars))
        for index, label in self._arrangement.files:
            number, offset, size = self._places[index]
            read = partial(read_place, tars[number], offset, size)
            yield SourceImage(printable_name(self._names[index]), label, read)

    def listing_digest(self) -> str:
        changed = [tar.stat().st_mtime_ns for tar in self._tars]
        entries = (
            (self._names[index], label, *self._places[index], changed[self._places[index][0]])
            for index, label in self._arrangement.files
        )
        return digest_of("tar", self._path, self.classes, entries)


def _placed(above: str, name: str, stem: str, taken: Container[str]) -> str:
    """Return a member's path in a set of several .tar, unlike those of the others."""
    if not above or name.startswith("/") or ".." in name.split("/"):
        placed = name
    else:
        placed = f"{above}/{name}"
    if placed not in taken:
        return placed
    folder, slash, leaf = placed.rpartition("/")
    return f"{folder}{slash}{stem}-{leaf}"


def _list(path: Path) -> tuple[list[str], list[tuple[int, int]], int]:
    """List the files in a tar.

    Returns:
        Their names, the offset and size of the content of each, and the number of links that are
        not read. A hard link, by which tar writes a file that it has written already, is read
        there.
    """
    names, num_links = [], 0
    places: list[tuple[int, int]] = []
    known: dict[str, tuple[int, int]] = {}
    try:
        with open_file(path) as file, open_tar(file) as archive:
            for member in archive:
                vars(archive)["members"].clear()  # tarfile would keep a kilobyte for each
                place = None
                if member.isreg() and not member.issparse():
                    place = member.offset_data, member.size
                elif member.islnk():
                    place = known.get(plain_name(member.linkname))
                if place is None:
                    num_links += member.islnk() or member.issym()
                    continue
                name = plain_name(member.name)
                names.append(name)
                places.append(place)
                known[name] = place
    except (UnreadableError, OSError, tarfile.TarError, ValueError) as error:
        raise SaganError(f"cannot read '{path}': {error}") from None
    return names, places, num_links


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
