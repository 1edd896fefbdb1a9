"""Images in tables: the meaning of a table's columns, whatever file or hub the rows come from.

Everything is streamed: a few rows are in memory at a time, whatever the size of the set.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sagan.data.sources.base import SourceImage
from sagan.data.sources.names import names_images, names_masks, printable_name, split_of
from sagan.data.sources.rows import Row, Rows
from sagan.data.sources.tree import DEFAULT_SPLIT, NO_LABEL
from sagan.errors import SaganError, UnreadableError
from sagan.hub.errors import hub_reason
from sagan.images.decode import IMAGE_EXTENSIONS, decode, examine
from sagan.runtime.extras import HUB, report_missing_library

if TYPE_CHECKING:
    from datasets import Features

IMAGE_COLUMNS = {
    "image",
    "img",
    "picture",
    "photo",
    *(ext.removeprefix(".") for ext in IMAGE_EXTENSIONS),
}
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
    with report_missing_library(HUB):
        import datasets
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    return datasets


@dataclass(frozen=True)
class Labels:
    """How a table gives labels.

    Attributes:
        note: how they were found, or why there are none, for the user.
        column: the column of labels; None without labels.
        classes: class names; empty without labels.
        number: the label of each value in the column.
        num_rows: the number of rows to read, where finding the labels took counting them.
        skips_negative: whether a negative number means that a row has no label.
    """

    note: str
    column: str | None = None
    classes: tuple[str, ...] = ()
    number: Mapping[object, int] | None = None
    num_rows: int | None = None
    skips_negative: bool = False


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

    credits = ""
    decode = staticmethod(decode)
    examine = staticmethod(examine)
    attributes = None

    def __init__(
        self,
        name: str,
        splits: Mapping[str, Rows],
        split: str,
        listing: Callable[[], str],
    ) -> None:
        self.name = name
        split = _known_spelling(split, splits)
        self.split = split
        self.splits = tuple(sorted(splits)) if set(splits) != {DEFAULT_SPLIT} else ()
        if split not in splits:
            raise SaganError(
                f"no split '{split}' in '{name}': it has {', '.join(sorted(splits))}; "
                "choose one with --split"
            )
        self._rows = splits[split]
        self._train = splits.get(DEFAULT_SPLIT, self._rows)
        self._column, self._other_images = image_column(self._rows.features, name)
        self._listing = listing
        self._check_alike(self._column)

    def _check_alike(self, column: str) -> None:
        if column in self._rows.differences:
            raise SaganError(
                f"the files of '{self.name}' do not fit together: "
                f"{self._rows.differences[column]}; make them alike, or point at some of them"
            )

    @cached_property
    def _labels(self) -> Labels:
        # Not before it is needed, since it may read the whole set.
        features = self._rows.features
        marked = {name: f.names for name, f in features.items() if hasattr(f, "names")}
        for column in (*LABEL_COLUMNS, *marked):
            self._check_alike(column)
        if marked:
            return _marked_labels(marked, self._train.features)
        for column in LABEL_COLUMNS:
            if _may_label(features.get(column)):
                return self._collect_labels(column)
        for column in LABEL_COLUMNS:
            if column in features:
                kind = getattr(features[column], "dtype", type(features[column]).__name__)
                return Labels(
                    f"the column '{column}' holds {kind}, which are not classes: "
                    "read without labels"
                )
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
        note = f"pictures are read from the column '{self._column}'"
        if self._other_images:
            note += f", not from {', '.join(self._other_images)}"
        return (note, self._labels.note)

    def images(self) -> Iterator[SourceImage]:
        labels = self._labels
        columns = [self._column, *([labels.column] if labels.column else [])]
        for number, row in enumerate(self._read(columns)):
            cell = row[self._column]
            label, read = NO_LABEL, _reader(cell)
            if labels.column and labels.number:
                value = row[labels.column]
                if labels.skips_negative and _is_negative(value):
                    continue
                label = labels.number.get(value, NO_LABEL)
                if label == NO_LABEL:
                    read = partial(_refuse, f"its label {value!r} is not one of the classes")
            yield SourceImage(_row_name(number, cell), label, read)

    def listing_digest(self) -> str:
        return self._listing()

    def _read(self, columns: list[str], rows: Rows | None = None) -> Iterator[Row]:
        number = 0
        try:
            for row in (rows or self._rows).read(columns):
                yield row
                number += 1
        except (SaganError, GeneratorExit):
            raise
        except Exception as error:  # pyarrow's own, the hub's and the network's
            raise SaganError(
                f"cannot read '{self.name}' after row {number}: {hub_reason(error)}"
            ) from None

    def _collect_labels(self, column: str) -> Labels:
        """Read a column of labels once, since nothing says beforehand which values it has.

        Classes are numbered as in the train split; those that only this split has come after.
        """
        values, num_rows, num_negative = self._values(column, self._rows)
        known = values
        if self._train is not self._rows and _may_label(self._train.features.get(column)):
            known, _, _ = self._values(column, self._train)
        every = known | values
        fractions = [value for value in every if isinstance(value, float)]
        if fractions:
            note = f"the column '{column}' has fractions such as {min(fractions)}, not classes"
            return Labels(f"{note}: read without labels", num_rows=num_rows)
        # -1 beside 1 is one of two classes; otherwise it stands for "no label", as on the hub.
        skips_negative = any(map(_is_negative, every)) and every != {-1, 1}
        if skips_negative:
            known, values = ({v for v in some if not _is_negative(v)} for some in (known, values))
        if not 1 < len(known | values) <= MAX_LABEL_VALUES:
            more = "more than " if len(known | values) > MAX_LABEL_VALUES else ""
            many = f"{more}{min(len(known | values), MAX_LABEL_VALUES):,}"
            note = f"the column '{column}' has {many} different values: read without labels"
            return Labels(note, num_rows=num_rows)
        ordered = [*_ordered(known), *(added := _ordered(values - known))]
        note = f"labels are read from the column '{column}'"
        if added:
            note += f"; classes that the train split does not have: {', '.join(map(str, added))}"
        if skips_negative and num_negative:
            note += f"; {num_negative:,} rows with a negative label have none and are left out"
        return Labels(
            note,
            column,
            tuple(map(str, ordered)),
            {value: label for label, value in enumerate(ordered)},
            num_rows - (num_negative if skips_negative else 0),
            skips_negative,
        )

    def _values(self, column: str, rows: Rows) -> tuple[set[Any], int, int]:
        """Return the different values in a column, its number of rows, and how many are below 0."""
        values: set[Any] = set()
        num_rows = num_negative = 0
        for row in self._read([column], rows):
            value = row[column]
            num_rows += 1
            num_negative += _is_negative(value)
            if value is not None and len(values) <= MAX_LABEL_VALUES:
                # Whole numbers are classes however they are stored; pandas makes them floats when
                # one is missing, which it stores as NaN.
                if isinstance(value, float):
                    if math.isnan(value):
                        continue
                    value = int(value) if value.is_integer() else value
                values.add(value)
        return values, num_rows, num_negative


def _known_spelling(split: str, splits: Iterable[str]) -> str:
    """Return the split that is meant: "validation" for "val", unless there is another such."""
    if split in splits or not (meaning := split_of(split)):
        return split
    same = [name for name in splits if split_of(name) == meaning]
    return same[0] if len(same) == 1 else split


def _ordered(values: set[Any]) -> list[Any]:
    numbers = sorted(value for value in values if not isinstance(value, str))
    return [*numbers, *sorted(value for value in values if isinstance(value, str))]


def _is_negative(value: object) -> bool:
    return isinstance(value, int | float) and value < 0


def _marked_labels(marked: Mapping[str, list[str]], train: "Features") -> Labels:
    """Return the labels of a column that is marked as one, numbered as in the train split."""
    column = next((name for name in LABEL_COLUMNS if name in marked), next(iter(marked)))
    names = tuple(map(str, marked[column]))
    if len(names) < 2:
        return Labels(f"all pictures have one label in '{column}': read without labels")
    note = f"labels are read from the column '{column}'"
    if len(marked) > 1:
        note += f", one of {', '.join(marked)}"
    known = tuple(map(str, getattr(train.get(column), "names", names)))
    classes = known + tuple(name for name in names if name not in known)
    number: dict[object, int] = {value: classes.index(name) for value, name in enumerate(names)}
    return Labels(note, column, classes, number)


def image_column(features: "Features", name: str) -> tuple[str, list[str]]:
    """Return the column of images, and others that could have been meant.

    It is one that is marked as images, or called so, or else the only one of bytes. Of several
    marked ones, one that is called "image" or the like comes first, one of masks last.
    """
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
            best, *others = sorted(columns, key=_image_rank)
            return best, others
    raise SaganError(
        f"no column of pictures in '{name}': it has {', '.join(features)}; name it 'image'"
    )


def _image_rank(column: str) -> int:
    """Return how unlikely a column is to have the images; equals keep their order."""
    if column.lower() in IMAGE_COLUMNS:
        return 0
    return 3 if names_masks(column) else 1 if names_images(column) else 2


def _may_label(feature: object) -> bool:
    kind = str(getattr(feature, "dtype", ""))
    return kind.startswith(("int", "uint", "string", "large_string", "bool", "float", "double"))


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
