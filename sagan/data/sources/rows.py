"""Tables read a few rows at a time, in memory that does not depend on their size.

Parquet and arrow files on the disk are read with pyarrow itself: through `datasets`, a file with
all rows in one group takes several times its size in memory.

pyarrow and datasets are imported inside functions because they are optional, and slow to import.
"""

from collections.abc import Iterator, Sequence
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

    def read(self, columns: list[str]) -> Iterator[Row]:
        """Yield every row's cells in these columns; images as {"bytes": ..., "path": ...}."""


class ParquetRows:
    """Parquet files one after the other.

    Raises:
        Exception: pyarrow's own, for a file that is damaged.
    """

    def __init__(self, files: Sequence[str]) -> None:
        from datasets import Features
        from pyarrow import parquet

        self._files = files
        self.features = Features.from_arrow_schema(parquet.read_schema(files[0]))
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
        from datasets import Features

        self._files = files
        self.num_rows: int | None = None
        with _mapped(files[0]) as mapped:
            self.features = Features.from_arrow_schema(_reader(mapped).schema)

    def read(self, columns: list[str]) -> Iterator[Row]:
        """Yield rows, as `Rows.read` does."""
        for file in self._files:
            with _mapped(file) as mapped:
                for batch in _batches(_reader(mapped)):
                    batch.validate(full=True)  # a hostile file could point outside itself
                    chosen = batch.select(columns)
                    for start in range(0, chosen.num_rows, BATCH_ROWS):
                        yield from chosen.slice(start, BATCH_ROWS).to_pylist()


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

    def read(self, columns: list[str]) -> Iterator[Row]:
        """Yield rows, as `Rows.read` does."""
        yield from self._stream.select_columns(columns)
