"""Pictures in tables: parquet, arrow and webdataset tars, and what their columns mean.

Everything is streamed: a few rows are in memory at a time, whatever the size of the set.
"""

import glob
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sagan.data.sources.base import SourceImage, digest_of, file_entries
from sagan.data.sources.rows import ArrowRows, ParquetRows, Rows, StreamedRows
from sagan.data.sources.tree import DEFAULT_SPLIT, NO_LABEL, is_image_name, printable
from sagan.errors import SaganError, UnreadableError
from sagan.images.decode import IMAGE_EXTENSIONS, decode, examine

if TYPE_CHECKING:
    from datasets import Features

# File name endings, and the library's names for the loaders.
KINDS = {".parquet": "parquet", ".arrow": "arrow", ".tar": "webdataset"}
_TAR_BLOCK = 512
# Names that label columns have, where no column is marked as one.
LABEL_COLUMNS = (
    "label",
    "labels",
    "fine_label",
    "class",
    "cls",
    "class_name",
    "category",
    "target",
)
# More different labels than this are captions or identifiers, not classes.
MAX_CLASSES = 10_000


def import_datasets() -> ModuleType:
    """Import `datasets`, and keep it from drawing bars and writing warnings.

    Raises:
        SaganError: it is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise SaganError(
            "reading the hub, parquet, arrow and webdataset files needs the package 'datasets': "
            "pip install '.[hub]' in the checkout"
        ) from None
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    return datasets


def kind_of(path: Path) -> str | None:
    """The loader for a file by its name, if there is one."""
    return KINDS.get(path.suffix.lower())


def holds_tables(folder: Path) -> bool:
    """Whether a folder's own content is tables, in itself, in `data` or in its only sub-folder.

    Not where pictures lie beside them: a backup.tar among photos is a stray file.
    """
    if any(is_image_name(entry.name) for entry in folder.iterdir()):
        return False
    return any(_files(folder)) or _is_saved(folder)


def _files(folder: Path) -> Iterator[Path]:
    for place in (folder, *_inner(folder)):
        yield from sorted(file for file in place.iterdir() if kind_of(file))


def _inner(folder: Path) -> list[Path]:
    """Where a copy of a set on the hub has its files, if not at the top."""
    folders = [e for e in folder.iterdir() if e.is_dir() and not e.name.startswith(".")]
    if len(folders) > 1:
        return [entry for entry in folders if entry.name == "data"]
    return folders


def _is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote this folder."""
    one = all((folder / name).is_file() for name in ("state.json", "dataset_info.json"))
    return one or (folder / "dataset_dict.json").is_file()


def open_file(path: Path, split: str) -> "TableSource":
    """Open one .parquet, .arrow or .tar file.

    Raises:
        SaganError: as `TableSource`.
    """
    _check_ends([path])
    # A name with brackets or stars is a name, not a pattern.
    where = {"data_files": glob.escape(str(path.resolve()))}
    splits = _guarded(path, lambda: _load(KINDS[path.suffix.lower()], where))
    return TableSource(printable(str(path)), splits, split, partial(_digest, path, [path]))


def open_folder(path: Path, split: str) -> "TableSource":
    """Open a folder of such files; `train-...`, `test-...` and sub-folders so named are splits.

    Raises:
        SaganError: as `TableSource`.
    """
    if _is_saved(path):
        splits = _guarded(path, lambda: _load_saved(path))
        files = list(path.rglob("*.json"))
    else:
        files = list(_files(path))
        kinds = sorted({KINDS[file.suffix.lower()] for file in files})
        if len(kinds) > 1:
            raise SaganError(f"'{path}' mixes {' and '.join(kinds)} files: point at one kind")
        _check_ends(files)
        where = {"data_dir": glob.escape(str(files[0].parent.resolve()))}
        splits = _guarded(path, lambda: _load(kinds[0], where))
    return TableSource(printable(str(path)), splits, split, partial(_digest, path, sorted(files)))


def _check_ends(files: list[Path]) -> None:
    """Refuse tars that were cut short, which reading takes for shorter ones.

    A tar ends in blocks of 512 zeros (POSIX.1-2001, pax).
    """
    for path in files:
        if kind_of(path) != "webdataset":
            continue
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAR_BLOCK))
            if size % _TAR_BLOCK or any(file.read()):
                raise SaganError(
                    f"cannot read '{path}': its end is missing; copy or download it again"
                )


def _load(kind: str, where: Mapping[str, str]) -> Mapping[str, Rows]:
    """Splits by name; `datasets` decides which files belong to which."""
    datasets = import_datasets()
    if kind == "webdataset":
        streams = datasets.load_dataset(kind, streaming=True, **where)
        return {str(name): StreamedRows(stream, name) for name, stream in streams.items()}
    files = datasets.load_dataset_builder(kind, **where).config.data_files
    rows = ParquetRows if kind == "parquet" else ArrowRows
    return {str(name): rows(list(paths)) for name, paths in files.items()}


def _load_saved(path: Path) -> Mapping[str, Rows]:
    datasets = import_datasets()
    saved = datasets.load_from_disk(str(path))  # mapped, not read
    splits = saved if isinstance(saved, datasets.DatasetDict) else {DEFAULT_SPLIT: saved}
    return {n: StreamedRows(rows.to_iterable_dataset(), n) for n, rows in splits.items()}


def _guarded(path: Path, load: Callable[[], Mapping[str, Rows]]) -> Mapping[str, Rows]:
    try:
        return load()
    except SaganError:
        raise
    except Exception as error:  # the loaders raise their own, pyarrow's, fsspec's and tarfile's
        raise SaganError(f"cannot read '{path}': {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """An error as part of a line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _digest(path: Path, files: list[Path]) -> str:
    return digest_of("tables", path, (), file_entries(files))


@dataclass(frozen=True)
class Labels:
    """The column that holds labels, and what class its values mean."""

    column: str
    classes: tuple[str, ...]
    number: Mapping[object, int]


class TableSource:
    """One split of a set of rows with a column of pictures and perhaps one of labels.

    Args:
        name: what to call it.
        splits: the set's splits by name.
        split: the one to read.
        listing: sha256 hex over what there is.

    Raises:
        SaganError: there is no such split, no column of pictures, or the rows cannot be read.
    """

    decode = staticmethod(decode)
    examine = staticmethod(examine)

    def __init__(
        self,
        name: str,
        splits: Mapping[str, Rows],
        split: str,
        listing: Callable[[], str],
    ) -> None:
        self.name = name
        self.split = split
        self.splits = tuple(sorted(splits)) if set(splits) != {DEFAULT_SPLIT} else ()
        if split not in splits:
            raise SaganError(
                f"no split '{split}' in {name}: it has {', '.join(sorted(splits))}; "
                "choose one with --split"
            )
        self._rows = splits[split]
        self._column = _picture_column(self._rows.features, name)
        self._listing = listing

    @cached_property
    def _labeling(self) -> tuple[Labels | None, int | None, list[str]]:
        """As `_find_labels`, which may read the whole set: not before somebody asks."""
        return self._find_labels(self._rows.features)

    @property
    def classes(self) -> tuple[str, ...]:
        labels, _, _ = self._labeling
        return labels.classes if labels else ()

    @property
    def num_images(self) -> int | None:
        _, counted, _ = self._labeling
        return counted if counted is not None else self._rows.num_rows

    @property
    def notes(self) -> tuple[str, ...]:
        _, _, notes = self._labeling
        return (f"pictures are read from the column '{self._column}'", *notes)

    def images(self) -> Iterator[SourceImage]:
        labels, _, _ = self._labeling
        columns = [self._column, *([labels.column] if labels else [])]
        for number, row in enumerate(self._reading(columns)):
            label = NO_LABEL
            read = _reader(row[self._column])
            if labels is not None:
                value = row[labels.column]
                label = labels.number.get(value, NO_LABEL)
                if label == NO_LABEL:
                    read = partial(_refuse, f"its label {value!r} is none of the classes")
            yield SourceImage(_row_name(number, row[self._column]), label, read)

    def listing_digest(self) -> str:
        return self._listing()

    def _reading(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        number = 0
        try:
            for row in self._rows.read(columns):
                yield row
                number += 1
        except (SaganError, GeneratorExit):
            raise
        except Exception as error:
            raise SaganError(
                f"cannot read {self.name} after row {number}: {one_line(error)}"
            ) from None

    def _find_labels(self, features: "Features") -> tuple[Labels | None, int | None, list[str]]:
        """Labels; the number of rows, where these had to be counted; what the user should hear."""
        marked = {name: f.names for name, f in features.items() if hasattr(f, "names")}
        if marked:
            column = _preferred(list(marked))
            notes = [f"labels are read from the column '{column}'"]
            if len(marked) > 1:
                notes[0] += f", one of {', '.join(marked)}"
            names = tuple(map(str, marked[column]))
            if len(names) < 2:
                return (
                    None,
                    None,
                    [f"all pictures have one label in '{column}': read without labels"],
                )
            return Labels(column, names, {n: n for n in range(len(names))}), None, notes

        named = [name for name in LABEL_COLUMNS if _may_label(features.get(name))]
        if not named:
            columns = ", ".join(features)
            return (
                None,
                None,
                [f"none of the columns {columns} is called label: read without labels"],
            )
        return self._collect_labels(named[0])

    def _collect_labels(self, column: str) -> tuple[Labels | None, int, list[str]]:
        """Read the column of labels once, since nothing says beforehand what occurs in it."""
        values: set[Any] = set()
        num_rows = 0
        for row in self._reading([column]):
            num_rows += 1
            if row[column] is not None and len(values) <= MAX_CLASSES:
                values.add(row[column])
        if not 1 < len(values) <= MAX_CLASSES:
            more = "more than " if len(values) > MAX_CLASSES else ""
            many = f"{more}{min(len(values), MAX_CLASSES):,}"
            note = f"the column '{column}' has {many} different values: read without labels"
            return None, num_rows, [note]
        ordered = sorted(values)
        number = {value: label for label, value in enumerate(ordered)}
        note = f"labels are read from the column '{column}'"
        return Labels(column, tuple(map(str, ordered)), number), num_rows, [note]


def _picture_column(features: "Features", name: str) -> str:
    from datasets import Image, Value

    marked = [column for column, feature in features.items() if isinstance(feature, Image)]
    endings = {extension.removeprefix(".") for extension in IMAGE_EXTENSIONS}
    raw = [
        column
        for column, feature in features.items()
        if feature in (Value("binary"), Value("large_binary"))
        or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
    ]
    likely = [column for column in raw if column.lower() in {"image", "img", "picture", *endings}]
    for columns in (marked, likely, raw if len(raw) == 1 else []):
        if columns:
            return columns[0]
    raise SaganError(
        f"no column of pictures in {name}: it has {', '.join(features)}; name it 'image'"
    )


def _preferred(columns: list[str]) -> str:
    return next((name for name in LABEL_COLUMNS if name in columns), columns[0])


def _may_label(feature: object) -> bool:
    kind = str(getattr(feature, "dtype", ""))
    return kind.startswith(("int", "uint", "string", "large_string", "bool"))


def _reader(value: object) -> Callable[[], bytes]:
    """Turn a cell into what reads it. A path in a table is not followed: it may be anyone's."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, bytes):
        return partial(bytes, data)
    return partial(_refuse, "the row holds no picture")


def _refuse(reason: str) -> bytes:
    raise UnreadableError(reason)


def _row_name(number: int, value: object) -> str:
    path = value.get("path") if isinstance(value, dict) else None
    return printable(f"row {number}: {path}" if path else f"row {number}")
