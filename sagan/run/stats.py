"""The records of a run: RUN/stats.jsonl, one JSON object per line."""

import json
import sys
from pathlib import Path
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, float]  # numbers by name, among them "step"

MAX_STEP = 2**53  # up to here a float counts exactly


def read_records(run: Path) -> list[Record]:
    """Return the records of RUN/stats.jsonl, as `parse_records` does; empty without that file."""
    path = run / "stats.jsonl"
    return parse_records(path.read_bytes()) if path.is_file() else []


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
