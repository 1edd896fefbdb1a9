"""What all sources have in common whose images have paths: folders, zips and tars."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sagan.data.sources.dataset_json import arrange_source, find_label_files
from sagan.data.sources.names import label_tables_note, printable_name
from sagan.errors import SaganError
from sagan.images.decode import decode, examine


class NamedSource:
    """Images with paths; see `tree.arrange` for the meaning of the folders in these.

    Args:
        path: the folder or archive.
        split: the split to arrange.
        found: the paths of all files in it, with forward slashes.
        names: those of them that are images, in order.
        notes: what the user should know of the others.
        read: returns a file's content by its path, or raises UnreadableError.

    Raises:
        SaganError: there are no images, the split does not exist, or label files contradict each
            other or cannot be read.
    """

    credits = ""
    decode = staticmethod(decode)
    examine = staticmethod(examine)
    attributes = None

    def __init__(
        self,
        path: Path,
        split: str,
        found: Sequence[str],
        names: list[str],
        notes: list[str],
        read: Callable[[str], bytes],
    ) -> None:
        self.name = printable_name(str(path))
        self.split = split
        self._path = path
        self._names = names
        if notes and not names:
            raise SaganError(f"no pictures in '{self.name}': {notes[0]}")
        label_files = find_label_files(found, read, self.name)
        self._arrangement = arrange_source(names, label_files, split, self.name)
        if not self._arrangement.classes:
            notes = [*notes, *label_tables_note(found)]
        self.splits = self._arrangement.splits
        self.classes = tuple(map(printable_name, self._arrangement.classes))
        self.notes = tuple(map(printable_name, (*self._arrangement.notes, *notes)))

    @property
    def num_images(self) -> int:
        return len(self._arrangement.files)
