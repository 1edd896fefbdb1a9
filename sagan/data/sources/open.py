"""From the name of a data set to a source of images.

To add a kind of source, write a file with a class that has the attributes of `Source`, and a line
in `open_source`.
"""

import re
import zipfile
from pathlib import Path

from sagan.data.packed import is_packed
from sagan.data.shards.remote import is_url
from sagan.data.sources.base import Source
from sagan.data.sources.names import is_image_name
from sagan.data.sources.tree import DEFAULT_SPLIT
from sagan.errors import SaganError, UnreadableError
from sagan.storage.files import expanded, open_file

SOURCE_KINDS = (
    "a folder, a .zip, a packed data set, .parquet, .arrow or webdataset .tar files, "
    "CIFAR's own archives, 'hf:NAME', 'avatars' or 'openmoji'"
)

_ARRAYS = "save its images as files, such as PNG, in a folder for each class"
_UNPACK = "unpack it, and give the folder"
# Formats that data sets come in and that are not read, with what to do.
_INSTEAD = {
    ".npz": _ARRAYS, ".npy": _ARRAYS, ".mat": _ARRAYS, ".h5": _ARRAYS, ".hdf5": _ARRAYS,
    ".tfrecord": _ARRAYS, ".tfrecords": _ARRAYS, ".lmdb": _ARRAYS, ".mdb": _ARRAYS,
    ".pt": _ARRAYS, ".7z": _UNPACK, ".rar": _UNPACK,
}  # fmt: skip


def open_source(source: str, split: str = DEFAULT_SPLIT) -> Source:
    """Find out what kind of source `source` is, and list its images.

    Each kind is imported only when there is one to open: rendering SVG, reading parquet and asking
    the hub need libraries that take long to import, and some of which are optional.

    Args:
        source: `avatars[:STYLE,STYLE...][@NUMBER]`, `openmoji`, `hf:NAME[:CONFIG][:SPLIT]`, or a
            path to: a folder of images, a zip of the same, CIFAR-10's or -100's archive or unpacked
            folder, .parquet, .arrow or webdataset .tar files, or a folder of these, or a .tar of a
            folder of images.
        split: which part of it.

    Raises:
        SaganError: it is not one of these, cannot be read, has no images, or lacks the split.
    """
    if source == "openmoji":
        from sagan.data.sources.openmoji import OpenMojiSource

        return OpenMojiSource(split)
    if is_avatars(source):
        from sagan.data.sources.avatars import AvatarsSource

        return AvatarsSource(source, split)
    if source.startswith("hf:"):
        from sagan.data.sources.hub import open_hub

        return open_hub(source, split)
    path = expanded(source)
    if is_url(source) or is_packed(path):
        raise SaganError(
            f"'{source}' is a packed data set, which is used as it is: pack what it was made from"
        )
    if not path.exists():
        raise SaganError(f"no data set at '{source}': give {SOURCE_KINDS}")
    return _open_folder(path, split) if path.is_dir() else _open_file(path, split)


def is_built_in(source: str) -> bool:
    """Return whether a data set's name is that of built-in images, not a path or a hub's name."""
    return source == "openmoji" or is_avatars(source)


def is_avatars(source: str) -> bool:
    """Return whether a data set's name asks for the built-in faces."""
    return re.fullmatch("avatars(:[^/@]*)?(@[^/]*)?", source) is not None


def _open_folder(path: Path, split: str) -> Source:
    from sagan.data.sources import cifar, table_files, tar_archive
    from sagan.data.sources.folder import FolderSource, names_in

    names = names_in(path)
    if form := cifar.form_of(names):
        return cifar.CifarSource(cifar.InFolder(path), form, split)
    if any(map(is_image_name, names)):
        return FolderSource(path, split)
    if tars := tar_archive.tars_of_folders(path):
        for tar in tars:
            table_files.check_complete(tar)
        return tar_archive.TarSource(path, split, tars)
    if table_files.has_tables(path):
        return table_files.open_folder(path, split)
    return FolderSource(path, split)


def _open_file(path: Path, split: str) -> Source:
    from sagan.data.sources import cifar, table_files
    from sagan.data.sources.tar_archive import TarSource, is_tar_of_images
    from sagan.data.sources.zip_archive import ZipSource

    try:
        with open_file(path) as file:
            is_zip = zipfile.is_zipfile(file)
    except UnreadableError as error:
        raise SaganError(f"cannot read '{path}': {error}; give {SOURCE_KINDS}") from None
    for suffix, instead in _INSTEAD.items():
        if path.name.lower().endswith(suffix):
            raise SaganError(f"cannot use '{path}': {suffix} is not read; {instead}")
    if is_zip:
        return ZipSource(path, split)
    if form := cifar.form_of(cifar.first_names(path)):
        return cifar.CifarSource(cifar.InTar(path), form, split)
    if path.suffix.lower() == ".tar" and is_tar_of_images(path):
        table_files.check_complete(path)
        return TarSource(path, split)
    if table_files.kind_of(path):
        return table_files.open_table(path, split)
    if path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        raise SaganError(f"cannot use '{path}': compressed archives are not read; {_UNPACK}")
    if path.suffix.lower() == ".zip":
        raise SaganError(
            f"cannot read the zip '{path}': its end is missing or damaged; copy or download it "
            "again"
        )
    if is_image_name(path.name):
        raise SaganError(f"'{path}' is one picture: give the folder that it is in")
    raise SaganError(f"cannot use the file '{path}' as a data set: give {SOURCE_KINDS}")
