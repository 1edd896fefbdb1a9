"""Images in tables: the meaning of a table's columns, whatever file or hub the rows come from.

Everything is streamed: a few rows are in memory at a time, whatever the size of the set.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sagan.data.sources.base import SourceImage
from sagan.data.sources.names import printable_name
from sagan.data.sources.rows import Row, Rows
from sagan.data.sources.tree import DEFAULT_SPLIT, NO_LABEL
from sagan.errors import SaganError, UnreadableError
from sagan.images.decode import IMAGE_EXTENSIONS, decode, examine

if TYPE_CHECKING:
    from datasets import Features

IMAGE_COLUMNS = {"image", "img", "picture", *(ext.removeprefix(".") for ext in IMAGE_EXTENSIONS)}
# Names of label columns in order of preference, where no column is marked as one.
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
MAX_LABEL_VALUES = 10_000


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


def one_line(error: BaseException) -> str:
    """Return an error's message as part of a line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@dataclass(frozen=True)
class Labels:
    """How a table gives labels.

    Attributes:
        note: how they were found, or why there are none, for the user.
        column: the column of labels; None without labels.
        classes: class names; empty without labels.
        number: the label of each value in the column.
        num_rows: the number of rows, where finding the labels took counting them.
    """

    note: str
    column: str | None = None
    classes: tuple[str, ...] = ()
    number: Mapping[object, int] | None = None
    num_rows: int | None = None


class TableSource:
    """One split of a set of rows with a column of images and perhaps one of labels.

    Args:
        name: the set's name in messages.
        splits: the set's splits by name.
        split: the one to read.
        listing: returns the sha256 hex over the set's listing.

    Raises:
        SaganError: the split or a column of images is missing, or the rows cannot be read.
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
                f"no split '{split}' in '{name}': it has {', '.join(sorted(splits))}; "
                "choose one with --split"
            )
        self._rows = splits[split]
        self._column = _image_column(self._rows.features, name)
        self._listing = listing

    @cached_property
    def _labels(self) -> Labels:
        # Not before it is needed, since it may read the whole set.
        features = self._rows.features
        marked = {name: f.names for name, f in features.items() if hasattr(f, "names")}
        if marked:
            return _marked_labels(marked)
        for column in LABEL_COLUMNS:
            if _may_label(features.get(column)):
                return self._collect_labels(column)
        columns = ", ".join(features)
        return Labels(f"none of the columns {columns} is called label: read without labels")

    @property
    def classes(self) -> tuple[str, ...]:
        return self._labels.classes

    @property
    def num_images(self) -> int | None:
        counted = self._labels.num_rows
        return counted if counted is not None else self._rows.num_rows

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"pictures are read from the column '{self._column}'", self._labels.note)

    def images(self) -> Iterator[SourceImage]:
        labels = self._labels
        columns = [self._column, *([labels.column] if labels.column else [])]
        for number, row in enumerate(self._read(columns)):
            cell = row[self._column]
            label, read = NO_LABEL, _reader(cell)
            if labels.column and labels.number:
                value = row[labels.column]
                label = labels.number.get(value, NO_LABEL)
                if label == NO_LABEL:
                    read = partial(_refuse, f"its label {value!r} is not one of the classes")
            yield SourceImage(_row_name(number, cell), label, read)

    def listing_digest(self) -> str:
        return self._listing()

    def _read(self, columns: list[str]) -> Iterator[Row]:
        number = 0
        try:
            for row in self._rows.read(columns):
                yield row
                number += 1
        except (SaganError, GeneratorExit):
            raise
        except Exception as error:  # pyarrow's own, the hub's and the network's
            raise SaganError(
                f"cannot read '{self.name}' after row {number}: {one_line(error)}"
            ) from None

    def _collect_labels(self, column: str) -> Labels:
        """Read a column of labels once, since nothing says beforehand which values it has."""
        values: set[Any] = set()
        num_rows = 0
        for row in self._read([column]):
            num_rows += 1
            if row[column] is not None and len(values) <= MAX_LABEL_VALUES:
                values.add(row[column])
        if not 1 < len(values) <= MAX_LABEL_VALUES:
            more = "more than " if len(values) > MAX_LABEL_VALUES else ""
            many = f"{more}{min(len(values), MAX_LABEL_VALUES):,}"
            note = f"the column '{column}' has {many} different values: read without labels"
            return Labels(note, num_rows=num_rows)
        ordered = sorted(values)
        return Labels(
            f"labels are read from the column '{column}'",
            column,
            tuple(map(str, ordered)),
            {value: label for label, value in enumerate(ordered)},
            num_rows,
        )


def _marked_labels(marked: Mapping[str, list[str]]) -> Labels:
    """Return the labels of a column that is marked as one, with its class names."""
    column = next((name for name in LABEL_COLUMNS if name in marked), next(iter(marked)))
    names = tuple(map(str, marked[column]))
    if len(names) < 2:
        return Labels(f"all pictures have one label in '{column}': read without labels")
    note = f"labels are read from the column '{column}'"
    if len(marked) > 1:
        note += f", one of {', '.join(marked)}"
    return Labels(note, column, names, {n: n for n in range(len(names))})


def _image_column(features: "Features", name: str) -> str:
    """Return a column that is marked as images, or called so, or else the only one of bytes."""
    from datasets import Image, Value

    marked = [column for column, feature in features.items() if isinstance(feature, Image)]
    raw = [
        column
        for column, feature in features.items()
        if feature in (Value("binary"), Value("large_binary"))
        or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
    ]
    named = [column for column in raw if column.lower() in IMAGE_COLUMNS]
    for columns in (marked, named, raw if len(raw) == 1 else []):
        if columns:
            return columns[0]
    raise SaganError(
        f"no column of pictures in '{name}': it has {', '.join(features)}; name it 'image'"
    )


def _may_label(feature: object) -> bool:
    kind = str(getattr(feature, "dtype", ""))
    return kind.startswith(("int", "uint", "string", "large_string", "bool"))


def _reader(cell: object) -> Callable[[], bytes]:
    """Return a function that reads a cell. It does not follow a path, which may be anyone's."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(data, bytes):
        return partial(bytes, data)
    return partial(_refuse, "the row has no picture")


def _refuse(reason: str) -> bytes:
    raise UnreadableError(reason)


def _row_name(number: int, cell: object) -> str:
    path = cell.get("path") if isinstance(cell, dict) else None
    return printable_name(f"row {number}: {path}" if path else f"row {number}")
