"""From what the user points at to a source of pictures.

To add a kind of source, write a file with a class that has the attributes of `Source`, and a line
in `open_source`.
"""

import zipfile
from pathlib import Path

from sagan.data.sources.base import Source
from sagan.data.sources.tree import DEFAULT_SPLIT
from sagan.errors import SaganError

WHAT_THERE_IS = (
    "a folder, a .zip, a packed data set, .parquet, .arrow or webdataset .tar files, "
    "CIFAR's own archives, 'hf:NAME' or 'openmoji'"
)


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
        from sagan.data.sources.openmoji import OpenMojiSource

        return OpenMojiSource(split)
    if source.startswith("hf:"):
        from sagan.data.sources.hub import open_hub

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
    from sagan.data.sources import cifar, tables
    from sagan.data.sources.folder import FolderSource

    if form := cifar.form_of(entry.name for entry in path.iterdir()):
        return cifar.CifarSource(cifar.InFolder(path), form, split)
    if tables.holds_tables(path):
        return tables.open_folder(path, split)
    return FolderSource(path, split)


def _open_file(path: Path, split: str) -> Source:
    from sagan.data.sources import cifar, tables
    from sagan.data.sources.zip_archive import ZipSource

    if zipfile.is_zipfile(path):
        return ZipSource(path, split)
    if form := cifar.form_of(cifar.first_names(path)):
        return cifar.CifarSource(cifar.InTar(path), form, split)
    if tables.kind_of(path):
        return tables.open_file(path, split)
    if path.suffix.lower() == ".zip":
        raise SaganError(
            f"cannot read the zip '{path}': its end is missing or damaged; copy or download it "
            "again"
        )
    raise SaganError(f"cannot use the file '{path}' as a data set: give {WHAT_THERE_IS}")
