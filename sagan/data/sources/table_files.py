"""Tables on the disk: which files make up a set, and how they are opened.

`datasets` decides which files belong to which split. It and what it reads with are imported inside
functions because they are optional, and slow to import.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from sagan.data.sources.base import digest_of, file_entries
from sagan.data.sources.folder import has_images, names_in
from sagan.data.sources.names import is_image_name, is_system_folder, printable_name, split_of
from sagan.data.sources.rows import ArrowRows, ParquetRows, Rows, StreamedRows
from sagan.data.sources.tables import TableSource, image_column, import_datasets
from sagan.data.sources.tar_rows import TarRows
from sagan.data.sources.tree import DEFAULT_SPLIT
from sagan.errors import SaganError, UnreadableError
from sagan.storage.files import open_file

# File name endings, and the loaders of `datasets` for them.
TABLE_KINDS = {".parquet": "parquet", ".arrow": "arrow", ".tar": "webdataset"}
_TAR_BLOCK = 512


def kind_of(path: Path) -> str | None:
    """Return the loader for a file by its name, if there is one."""
    return TABLE_KINDS.get(path.suffix.lower())


def has_tables(folder: Path) -> bool:
    """Whether a folder is a set of tables: it, its `data` or its only sub-folder has such files.

    A folder with images is not, unless a table has images too: a backup.tar among photos is a stray
    file, as is a metadata.parquet.
    """
    files = list(_files(folder))
    if not files:
        return _is_saved(folder)
    return not has_images(folder) or any(map(_has_image_column, files))


def _has_image_column(file: Path) -> bool:
    if kind_of(file) == "webdataset":
        return False
    try:
        import_datasets()
        rows = ParquetRows if kind_of(file) == "parquet" else ArrowRows
        image_column(rows([str(file)]).features, str(file))
    except Exception:  # not installed, without images, or damaged in one of pyarrow's many ways
        return False
    return True


def _files(folder: Path) -> Iterator[Path]:
    for place in _places(folder):
        for name in names_in(place):
            if name.lower().endswith(tuple(TABLE_KINDS)):
                yield place / name


def _places(folder: Path) -> Iterator[Path]:
    """Yield the folders in which a set may have its files.

    They are itself, its sub-folders for splits, and the sub-folder in which a copy of a set on the
    hub has these, if any.
    """
    yield folder
    names = names_in(folder)
    if any(map(is_image_name, names)):  # perhaps a million: do not ask each if it is a folder
        return
    folders = [n for n in names if not is_system_folder(n) and (folder / n).is_dir()]
    if splits := [name for name in folders if split_of(name)]:
        yield from (folder / name for name in splits)
    elif len(folders) == 1 or "data" in folders:
        yield from _places(folder / (folders[0] if len(folders) == 1 else "data"))


def _is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote this folder."""
    one = all((folder / name).is_file() for name in ("state.json", "dataset_info.json"))
    return one or (folder / "dataset_dict.json").is_file()


def open_table(path: Path, split: str) -> TableSource:
    """Open one .parquet, .arrow or .tar file.

    Raises:
        SaganError: as `TableSource`.
    """
    # A name with brackets or stars is a name, not a pattern.
    where = {"data_files": glob.escape(str(path.resolve()))}
    return _open(path, [path], split, partial(_load, TABLE_KINDS[path.suffix.lower()], where))


def open_folder(path: Path, split: str) -> TableSource:
    """Open a folder of such files; `train-...`, `test-...` and sub-folders so named are splits.

    Raises:
        SaganError: as `TableSource`.
    """
    if _is_saved(path):
        listed, tables = sorted(path.rglob("*.json")), path.rglob("*.arrow")
        return _open(path, listed, split, partial(_load_saved, path), tables)
    files = list(_files(path))
    kinds = sorted({TABLE_KINDS[file.suffix.lower()] for file in files})
    if len(kinds) > 1:
        raise SaganError(f"'{path}' mixes {' and '.join(kinds)} files: point at one kind")
    top = files[0].parent
    if top != path and split_of(top.name):
        top = top.parent
    where = {"data_dir": glob.escape(str(top.resolve()))}
    return _open(path, sorted(files), split, partial(_load, kinds[0], where))


def _open(
    path: Path,
    listed: list[Path],
    split: str,
    load: Callable[[], Mapping[str, Rows]],
    tables: Iterable[Path] = (),
) -> TableSource:
    """Open a set.

    Args:
        path: its file or folder.
        listed: files that change when the set does.
        split: the one to read.
        load: returns the set's splits by name.
        tables: further files that it reads.
    """
    for file in (*listed, *tables):
        check_complete(file)
    try:
        splits = load()
    except SaganError:
        raise
    except Exception as error:  # the loaders raise their own, pyarrow's, fsspec's and tarfile's
        raise SaganError(f"cannot read '{path}': {_one_line(error)}") from None

    def digest() -> str:
        return digest_of("tables", path, (), file_entries(listed))

    return TableSource(printable_name(str(path)), splits, split, digest)


def check_complete(path: Path) -> None:
    """Refuse pipes and devices, which pyarrow would wait for, and tars that were cut short.

    `tarfile` takes these for shorter ones. A tar ends in blocks of 512 zeros (POSIX.1-2001, pax).
    """
    if path.is_dir():  # called NAME.parquet, as Spark writes; `datasets` lists it
        return
    try:
        with open_file(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAR_BLOCK))
            end = file.read(_TAR_BLOCK)
    except UnreadableError as error:
        raise SaganError(f"cannot read '{path}': {error}") from None
    if kind_of(path) == "webdataset" and (size % _TAR_BLOCK or any(end)):
        raise SaganError(f"cannot read '{path}': its end is missing; copy or download it again")


def _load(kind: str, where: Mapping[str, str]) -> Mapping[str, Rows]:
    datasets = import_datasets()
    files = datasets.load_dataset_builder(kind, **where).config.data_files
    rows: dict[str, Callable[[list[str]], Rows]] = {
        "parquet": ParquetRows, "arrow": ArrowRows, "webdataset": TarRows,
    }  # fmt: skip
    splits = {
        str(name): [path for path in paths if kind_of(Path(path)) == kind]
        for name, paths in files.items()
    }
    return {name: rows[kind](paths) for name, paths in splits.items() if paths}


def _load_saved(path: Path) -> Mapping[str, Rows]:
    datasets = import_datasets()
    saved = datasets.load_from_disk(str(path))  # mapped, not read
    splits = saved if isinstance(saved, datasets.DatasetDict) else {DEFAULT_SPLIT: saved}
    return {n: StreamedRows(rows.to_iterable_dataset(), n) for n, rows in splits.items()}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
