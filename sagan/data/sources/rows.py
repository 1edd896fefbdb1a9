"""Tables read a few rows at a time, in memory that does not depend on their size.

Parquet and arrow files on the disk are read with pyarrow itself: through `datasets`, a file with
all rows in one group takes several times its size in memory.

pyarrow and datasets are imported inside functions because they are optional, and slow to import.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datasets import Features, IterableDataset

BATCH_ROWS = 64
_BUFFER_BYTES = 1024**2

Row = dict[str, Any]


class Rows(Protocol):
    """One split of a table."""

    @property
    def features(self) -> "Features":
        """The columns by name, with their types."""

    @property
    def num_rows(self) -> int | None:
        """The number of rows, if it is known without reading them."""

    @property
    def differences(self) -> Mapping[str, str]:
        """For each column that is not the same in all files: where it differs, in words."""

    def read(self, columns: list[str]) -> Iterator[Row]:
        """Yield every row's cells in these columns; images as {"bytes": ..., "path": ...}."""


class ParquetRows:
    """Parquet files one after the other.

    Raises:
        Exception: pyarrow's own, for a file that is damaged.
    """

    def __init__(self, files: Sequence[str]) -> None:
        from pyarrow import parquet

        self._files = files
        self.features, self.differences = _compared(files, map(parquet.read_schema, files))
        self.num_rows: int | None = sum(parquet.read_metadata(file).num_rows for file in files)

    def read(self, columns: list[str]) -> Iterator[Row]:
        """Yield rows, as `Rows.read` does."""
        from pyarrow.parquet import ParquetFile

        for file in self._files:
            with ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as parquet:
                for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
                    yield from batch.to_pylist()


class ArrowRows:
    """Arrow files one after the other, in the streaming or the random-access format, mapped.

    Raises:
        Exception: pyarrow's own, for a file that is damaged.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self.num_rows: int | None = None
        self.features, self.differences = _compared(files, map(_arrow_schema, files))

    def read(self, columns: list[str]) -> Iterator[Row]:
        """Yield rows, as `Rows.read` does."""
        for file in self._files:
            with _mapped(file) as mapped:
                for batch in _batches(_reader(mapped)):
                    batch.validate(full=True)  # a hostile file could point outside itself
                    chosen = batch.select(columns)
                    for start in range(0, chosen.num_rows, BATCH_ROWS):
                        yield from chosen.slice(start, BATCH_ROWS).to_pylist()


def _compared(files: Sequence[str], schemas: Iterable[Any]) -> "tuple[Features, dict[str, str]]":
    """Return the columns of the first file, and where those of the others differ from them."""
    from datasets import Features

    first, *others = map(Features.from_arrow_schema, schemas)
    differences: dict[str, str] = {}
    for file, features in zip(files[1:], others, strict=True):
        for column in (*first, *features):
            if _kind(features.get(column)) != _kind(first.get(column)):
                differences.setdefault(
                    column,
                    f"'{file}' has {_shown(features, column)}, but '{files[0]}' has "
                    f"{_shown(first, column)}",
                )
    return first, differences


def _kind(feature: Any) -> object:
    """Return what decides whether two columns can be read as one: widths of numbers do not."""
    kind = str(getattr(feature, "dtype", ""))
    if hasattr(feature, "names"):
        return tuple(feature.names)
    for name in ("int", "float", "string", "binary"):
        if kind.removeprefix("u").removeprefix("large_").startswith(name):
            return name
    return feature


def _shown(features: Any, column: str) -> str:
    if column not in features:
        return f"no column '{column}'"
    feature = features[column]
    if hasattr(feature, "names"):
        return f"'{column}' with the classes {', '.join(feature.names[:5])}"
    return f"'{column}' as {getattr(feature, 'dtype', feature)}"


def _arrow_schema(file: str) -> Any:
    with _mapped(file) as mapped:
        return _reader(mapped).schema


def _mapped(file: str) -> Any:
    import pyarrow

    return pyarrow.memory_map(file)


def _reader(mapped: Any) -> Any:
    from pyarrow import ArrowInvalid, ipc

    try:
        return ipc.open_stream(mapped)
    except ArrowInvalid:
        mapped.seek(0)
        return ipc.open_file(mapped)


def _batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)


class StreamedRows:
    """A stream of `datasets`: from the hub, a webdataset or a saved data set."""

    def __init__(self, stream: "IterableDataset", split: str) -> None:
        self.features: Features = stream.features or stream._resolve_features().features
        # Images stay encoded: we decode them ourselves, in other processes.
        self._stream = stream.decode(False)
        splits = stream.info.splits
        promised = splits[split].num_examples if splits and split in splits else 0
        self.num_rows: int | None = promised or None
        self.differences: dict[str, str] = {}

    def read(self, columns: list[str]) -> Iterator[Row]:
        """Yield rows, as `Rows.read` does."""
        yield from self._stream.select_columns(columns)
