"""Writes the records of a run to stats.jsonl, and the same numbers to TensorBoard and trackers."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorboard.summary.writer import event_file_writer
from torch.utils.tensorboard import SummaryWriter

from sagan.run.stats import MAX_STATS_BYTES, Record, thinned
from sagan.storage.files import write_bytes
from sagan.storage.fsync import append, flush
from sagan.training.trackers import Trackers
from sagan.types import UInt8Array


@contextmanager
def _host_name_left_out() -> Iterator[None]:
    """Let TensorBoard name its files without this machine's name, as runs are shared with others.

    The name is fixed in its code, so its own `socket` is replaced, and nobody else's.
    """
    module: Any = event_file_writer
    original = module.socket
    module.socket = SimpleNamespace(gethostname=lambda: "sagan")
    try:
        yield
    finally:
        module.socket = original


class RecordWriter:
    """Appends records to RUN/stats.jsonl, RUN/tb and trackers, starting after a given step.

    So that stats.jsonl never gets larger than what is read of it, about every other record is left
    out there when it is full.

    Args:
        run: the run directory.
        kept: the records of earlier steps. All others in stats.jsonl are removed, because their
            steps run again.
        step: the step that training starts from.
        trackers: further places for the same numbers.
    """

    def __init__(
        self, run: Path, kept: Sequence[Record], step: int, trackers: Trackers | None = None
    ) -> None:
        self.path = run / "stats.jsonl"
        content = "".join(json.dumps(record) + "\n" for record in kept).encode()
        write_bytes(self.path, content)
        self._bytes = len(content)
        with _host_name_left_out():
            self._tensorboard = SummaryWriter(run / "tb", purge_step=step + 1)
        self._trackers = trackers

    def write(self, record: Record) -> None:
        """Append one record; it has a "step"."""
        # JSON has neither infinities nor NaN.
        finite = {name: v if math.isfinite(v) else None for name, v in record.items()}
        line = (json.dumps(finite) + "\n").encode()
        if self._bytes + len(line) > MAX_STATS_BYTES:
            content = thinned(self.path.read_bytes())
            write_bytes(self.path, content)
            self._bytes = len(content)
        append(self.path, line)
        self._bytes += len(line)
        step = int(record["step"])
        for name, value in record.items():
            if name != "step":
                self._tensorboard.add_scalar(name, value, step)
        if self._trackers is not None:
            self._trackers.log({name: v for name, v in record.items() if math.isfinite(v)})

    def write_image(self, name: str, image: UInt8Array, step: int) -> None:
        """Add an image, uint8 (H, W, 3), to TensorBoard and to trackers of images."""
        self._tensorboard.add_image(name, image, step, dataformats="HWC")
        if self._trackers is not None:
            self._trackers.log_image(name, image, step)

    def flush(self) -> None:
        """Wait until all records so far are on disk."""
        flush(self.path)

    def close(self) -> None:
        """Write what is still buffered for TensorBoard; who has started trackers finishes them."""
        self._tensorboard.close()
