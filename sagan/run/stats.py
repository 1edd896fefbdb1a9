"""What a run recorded as numbers: RUN/stats.jsonl, one object a line."""

import json
import sys
from pathlib import Path
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, float]

MOST_STEPS = 2**53  # that a float counts exactly


def read_statistics(run: Path) -> list[Record]:
    """The records of RUN/stats.jsonl, see `parse_records`; none if there is no such file."""
    path = run / "stats.jsonl"
    return parse_records(path.read_bytes()) if path.is_file() else []


def parse_records(lines: bytes) -> list[Record]:
    """The records in lines of stats.jsonl.

    Lines that a crash cut short are left out, and in the others what is no number.
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
            if isinstance(step, int) and 0 <= step <= MOST_STEPS:
                records.append(numbers)
    return records


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return True
    return type(value) is int and abs(value) <= sys.float_info.max
