"""The records of a run: RUN/stats.jsonl, one JSON object per line."""

import json
import os
import sys
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

from sagan.errors import SaganError, UnreadableError
from sagan.storage.files import read_file

Record: TypeAlias = dict[str, float]  # numbers by name, among them "step"

# A larger stats.jsonl, or one with more numbers, is not an honest one: a million steps, of which
# every twentieth is recorded, take less.
MAX_STATS_BYTES = 64 * 2**20
MAX_LINE_BYTES = 64 * 2**10
MAX_NUMBERS = 4_000_000
MAX_NAMES = 1000  # of numbers
_EACH_RECORD = 8  # as many numbers take as much memory as an empty record
MAX_STEP = 2**53  # up to here a float counts exactly


def read_records(run: Path) -> list[Record]:
    """Return the records of RUN/stats.jsonl, as `parse_records` does; empty without that file.

    Raises:
        SaganError: it is a link, a pipe or a device, or too large.
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

    Lines that are not a record, such as one cut short by a crash, are skipped, and so are lines of
    more than `MAX_LINE_BYTES`, values that are not numbers, and names after the first `MAX_NAMES`.

    Raises:
        UnreadableError: there are more than about `MAX_NUMBERS`.
    """
    records = []
    names: dict[str, str] = {}  # each as one object: otherwise every record would have its own
    left = MAX_NUMBERS
    for line in BytesIO(lines):
        if len(line) > MAX_LINE_BYTES:
            continue
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            numbers = {
                names.setdefault(name, name): value
                for name, value in record.items()
                if _is_number(value) and (name in names or len(names) < MAX_NAMES)
            }
            step = numbers.get("step")
            if isinstance(step, int) and 0 <= step <= MAX_STEP:
                records.append(numbers)
                left -= len(numbers) + _EACH_RECORD
                if left < 0:
                    raise UnreadableError(f"more than {MAX_NUMBERS:,} numbers")
    return records


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return True
    # A bool is an int, too, and JSON has integers that no float can represent.
    return type(value) is int and abs(value) <= sys.float_info.max
