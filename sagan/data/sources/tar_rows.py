"""Webdataset files as rows: the files of a sample follow each other, with the same name.

`datasets` takes the columns from the first few samples, so that a .png after sixty .jpg is lost.
"""

import tarfile
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from sagan.data.sources.names import is_hidden, is_image_name, names_masks
from sagan.data.sources.rows import Row
from sagan.data.sources.tar_archive import open_tar
from sagan.storage.files import MAX_IMAGE_BYTES, open_file

_ENOUGH_TO_JUDGE = 1000
_MAX_LABEL_BYTES = 4096

# One sample's files by what follows the first dot of their names.
_Sample = dict[str, tarfile.TarInfo]


class TarRows:
    """Webdataset files one after the other, with the columns `image` and, if any, `cls`.

    The image of a sample is its file with an extension of images, whichever it is. The label is the
    text of its .cls file: a whole number, or words.

    Raises:
        Exception: tarfile's own, for a file that is damaged.
    """

    def __init__(self, files: Sequence[str]) -> None:
        from datasets import Features, Image, Value

        self._files = files
        self.num_rows: int | None = None
        self.differences: dict[str, str] = {}
        columns: dict[str, Any] = {"image": Image()}
        labeled = [self._is_labeled(file) for file in files]
        if any(labeled):
            columns["cls"] = Value("string")
        if any(labeled) and not all(labeled):
            first = files[labeled.index(False)]
            self.differences["cls"] = f"'{first}' has no .cls files, but others have"
        self.features: Features = Features(columns)

    def read(self, columns: list[str]) -> Iterator[Row]:
        """Yield rows, as `Rows.read` does."""
        for file in self._files:
            with open_file(file) as opened, open_tar(opened) as archive:
                for key, sample in _samples(archive):
                    if "cls" not in sample and not _image_of(sample):
                        continue
                    row: Row = {}
                    if "image" in columns:
                        row["image"] = _image_cell(archive, key, sample)
                    if "cls" in columns:
                        row["cls"] = _label(archive, sample)
                    yield row

    def _is_labeled(self, file: str) -> bool:
        with open_file(file) as opened, open_tar(opened) as archive:
            return any(member.name.endswith(".cls") for member in islice(archive, _ENOUGH_TO_JUDGE))


def _samples(archive: tarfile.TarFile) -> Iterator[tuple[str, _Sample]]:
    """Yield the name and files of each sample."""
    current, sample = "", _Sample()
    for member in archive:
        vars(archive)["members"].clear()  # tarfile would keep a kilobyte for each
        if not member.isreg() or is_hidden(member.name):
            continue
        folder, slash, leaf = member.name.rpartition("/")
        stem, _, kind = leaf.partition(".")
        key = folder + slash + stem
        if key != current and sample:
            yield current, sample
            sample = {}
        current = key
        sample[kind.lower()] = member
    if sample:
        yield current, sample


def _image_of(sample: _Sample) -> tarfile.TarInfo | None:
    kinds = [kind for kind in sample if is_image_name(f"x.{kind}")]
    # "png" before "mask.png"
    best = min(kinds, key=lambda kind: (names_masks(kind), kind.count(".")), default=None)
    return sample[best] if best is not None else None


def _image_cell(archive: tarfile.TarFile, key: str, sample: _Sample) -> dict[str, Any]:
    member = _image_of(sample)
    if not member:
        return {"bytes": None, "path": key}
    # One byte too many is enough to be refused.
    return {"bytes": _content(archive, member, MAX_IMAGE_BYTES + 1), "path": member.name}


def _label(archive: tarfile.TarFile, sample: _Sample) -> int | str | None:
    if "cls" not in sample:
        return None
    text = _content(archive, sample["cls"], _MAX_LABEL_BYTES).decode(errors="backslashreplace")
    text = " ".join(text.split())
    try:
        return int(text)
    except ValueError:
        return text or None


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    file = archive.extractfile(member)
    return file.read(most) if file is not None else b""
