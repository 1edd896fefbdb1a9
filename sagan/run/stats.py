"""The records of a run: RUN/stats.jsonl, one JSON object per line."""

import json
import os
import sys
from pathlib import Path
from typing import Any, TypeAlias

from sagan.errors import SaganError, UnreadableError
from sagan.storage.files import read_file

Record: TypeAlias = dict[str, float]  # numbers by name, among them "step"

MAX_STATS_BYTES = 2**30  # a larger stats.jsonl is not an honest one
MAX_STEP = 2**53  # up to here a float counts exactly


def read_records(run: Path) -> list[Record]:
    """Return the records of RUN/stats.jsonl, as `parse_records` does; empty without that file.

    Raises:
        SaganError: it is a link, a pipe or a device, or larger than `MAX_STATS_BYTES`.
    """
    path = run / "stats.jsonl"
    if not os.path.lexists(path):
        return []
    try:
        return parse_records(read_file(path, MAX_STATS_BYTES, follow_links=False))
    except UnreadableError as error:
        raise SaganError(f"cannot read '{path}': {error}") from None


def parse_records(lines: bytes) -> list[Record]:
    """Return the records in lines of stats.jsonl.

    Lines that are not a record, such as one cut short by a crash, are skipped, and so are values
    that are not numbers.
    """
    records = []
    for line in lines.splitlines():
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            numbers = {name: value for name, value in record.items() if _is_number(value)}
            step = numbers.get("step")
            if isinstance(step, int) and 0 <= step <= MAX_STEP:
                records.append(numbers)
    return records


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return True
    # A bool is an int, too, and JSON has integers that no float can represent.
    return type(value) is int and abs(value) <= sys.float_info.max
