"""Images as files in a folder."""

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sagan.data.sources.base import SourceImage, digest_of
from sagan.data.sources.named import NamedSource
from sagan.data.sources.names import (
    is_image_name,
    is_system_folder,
    printable_name,
    unread_note,
)
from sagan.storage.files import read_file

# Device and number of a folder.
_Identity = tuple[int, int]
# How often a folder is entered under different names: links between folders that contain links
# would otherwise multiply without end.
_MOST_NAMES = 8


class FolderSource(NamedSource):
    """Images in a folder and its sub-folders."""

    def __init__(self, path: Path, split: str) -> None:
        troubles: list[str] = []
        found = sorted(_walk(path, troubles))
        names = [name for name in found if is_image_name(name)]
        troubles += unread_note(found)
        super().__init__(path, split, found, names, troubles, lambda name: read_file(path / name))

    def images(self) -> Iterator[SourceImage]:
        root = str(self._path)
        for index, label in self._arrangement.files:
            name = self._names[index]
            yield SourceImage(printable_name(name), label, partial(read_file, f"{root}/{name}"))

    def listing_digest(self) -> str:
        def entries() -> Iterator[tuple[object, ...]]:
            for index, label in self._arrangement.files:
                name = self._names[index]
                try:
                    status = (self._path / name).stat()
                    yield name, label, status.st_size, status.st_mtime_ns
                except OSError:
                    yield name, label, "unreadable"

        return digest_of("folder", self._path, self.classes, entries())


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, in order; none if it may not be listed."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208, since a million paths take seconds
    except OSError:  # listing it as part of a set will say why
        return []


def has_images(folder: Path) -> bool:
    """Whether a folder or one of its sub-folders has image files."""
    return any(map(is_image_name, _walk(folder, [])))


def _walk(root: Path, troubles: list[str]) -> Iterator[str]:
    """Yield the files' paths below `root`, with forward slashes; add what goes wrong to `troubles`.

    Links to folders are followed, since data sets are often put together from links, but not into a
    folder that contains the link, so that a loop ends. A folder that is entered under more than one
    name is noted.
    """
    first_names: dict[_Identity, str] = {}
    num_entered: Counter[_Identity] = Counter()
    # A stack, since folders may be nested deeper than Python recurses: path, folders above it, and
    # whether one of these was noted as a second name.
    waiting: list[tuple[str, frozenset[_Identity], bool]] = [("", frozenset(), False)]
    while waiting:
        folder, above, noted = waiting.pop()
        shown = f"{root}/{folder}".rstrip("/")
        try:
            status = os.stat(shown)  # noqa: PTH116
            with os.scandir(shown) as listed:
                entries = sorted(listed, key=lambda entry: (entry.is_symlink(), entry.name))
        except OSError as error:
            troubles.append(f"cannot list '{error.filename}': {error.strerror}")
            continue
        # Some file systems on Windows have no inode numbers, but these have no links either.
        identity = (status.st_dev, status.st_ino)
        if status.st_ino:
            num_entered[identity] += 1
            if identity in above or num_entered[identity] > _MOST_NAMES:
                troubles.append(f"'{shown}' leads to a folder that has been read already: left out")
                continue
            first = first_names.setdefault(identity, shown)
            if first != shown and not noted:
                noted = True
                troubles.append(f"'{shown}' is the same folder as '{first}'")
        prefix = f"{folder}/" if folder else ""
        is_folder = [_is_folder(entry) for entry in entries]
        names = [prefix + entry.name for entry in entries]
        yield from (name for name, inner in zip(names, is_folder, strict=True) if not inner)
        # Reversed, so that real folders come off the stack before links to them.
        waiting += [
            (name, above | {identity}, noted)
            for entry, name, inner in reversed(list(zip(entries, names, is_folder, strict=True)))
            if inner and not is_system_folder(entry.name)
        ]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere, or to itself
        return False
