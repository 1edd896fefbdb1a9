"""A run directory as one object, each part of it read once and handed on."""

from functools import cached_property
from pathlib import Path
from typing import Any

from sagan.errors import SaganError
from sagan.run.checkpoint import latest_checkpoint
from sagan.run.directory import (
    RunDescription,
    check_readable,
    is_run,
    read_description,
    read_environment,
)
from sagan.run.stats import Record, read_records


class Run:
    """A run directory, which need not exist yet.

    Each part is read when it is first asked for, and then kept. So a `Run` is a snapshot: to see
    what a training has added since, make another one.

    Args:
        path: the run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def exists(self) -> bool:
        """Whether the directory contains a run."""
        return is_run(self.path)

    def require(self) -> None:
        """Check that the directory contains a run, and no link among what is read.

        Raises:
            SaganError: it does not, or there is a link.
        """
        check_readable(self.path)
        if not self.exists:
            raise SaganError(f"'{self.path}' is not a run directory: it has no config.json")

    @cached_property
    def description(self) -> RunDescription:
        """Configuration and data, from config.json.

        Raises:
            SaganError: the file is missing or damaged.
        """
        return read_description(self.path)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Software and hardware, from environment.json; empty if that is missing or damaged."""
        return read_environment(self.path)

    @cached_property
    def records(self) -> list[Record]:
        """The records of stats.jsonl; empty if the file does not exist."""
        return read_records(self.path)

    @cached_property
    def newest_checkpoint(self) -> Path | None:
        """The newest undamaged checkpoint; None if none was saved yet.

        Raises:
            SaganError: all checkpoints are damaged.
        """
        return latest_checkpoint(self.path)

    def records_until(self, step: int) -> list[Record]:
        """Return the records that stay valid when training resumes from a step's checkpoint.

        Steps after it run again. From step 0, without a checkpoint, all of them do.
        """
        return [record for record in self.records if step > 0 and record["step"] <= step]
