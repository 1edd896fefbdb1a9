"""Images as files in a folder."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sagan.data.sources.base import SourceImage, digest_of
from sagan.data.sources.dataset_json import DATASET_JSON, arrange_source, label_folders
from sagan.data.sources.names import is_image_name, printable_name, unread_note
from sagan.data.sources.tree import Arrangement
from sagan.errors import SaganError, UnreadableError
from sagan.images.decode import decode, examine
from sagan.storage.files import read_file


class FolderSource:
    """Images in a folder and its sub-folders; see `tree.arrange` for the meaning of these."""

    decode = staticmethod(decode)
    examine = staticmethod(examine)

    def __init__(self, path: Path, split: str) -> None:
        self.name = printable_name(str(path))
        self.split = split
        self._path = path
        troubles: list[str] = []
        found = sorted(_walk(path, troubles))
        self._names = [name for name in found if is_image_name(name)]
        troubles += unread_note(found)
        if troubles and not self._names:
            raise SaganError(f"no pictures in '{path}': {troubles[0]}")
        self._arrangement = self._arrange(found)
        self.splits = self._arrangement.splits
        self.classes = tuple(map(printable_name, self._arrangement.classes))
        self.notes = tuple(map(printable_name, (*self._arrangement.notes, *troubles)))

    def _arrange(self, found: list[str]) -> Arrangement:
        def read(folder: str) -> bytes:
            labels = self._path / folder / DATASET_JSON
            try:
                return read_file(str(labels))
            except UnreadableError as error:
                raise SaganError(f"cannot read the labels in '{labels}': {error}") from None

        label_files = {folder: partial(read, folder) for folder in label_folders(found)}
        return arrange_source(self._names, label_files, self.split, self.name)

    @property
    def num_images(self) -> int:
        return len(self._arrangement.files)

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


def _walk(root: Path, troubles: list[str]) -> Iterator[str]:
    """Yield the files' paths below `root`, with forward slashes; add what goes wrong to `troubles`.

    Links to folders are followed, since data sets are often put together from links, but no folder
    is entered twice, so that a loop of links ends.
    """
    seen: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        troubles.append(f"cannot list '{error.filename}': {error.strerror}")

    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=note):
        status = os.stat(folder)  # noqa: PTH116
        # Some file systems on Windows have no inode numbers, but these have no links either.
        identity = (status.st_dev, status.st_ino)
        if status.st_ino and identity in seen:
            subfolders.clear()
            troubles.append(f"'{folder}' leads to a folder that has been read already: left out")
            continue
        seen.add(identity)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        below = Path(folder).relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        yield from (prefix + file for file in files)
