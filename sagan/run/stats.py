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

# What is read, and so what a training keeps: 100,000 records of 2.6 KB, which is usual. When it has
# more, `thinned` leaves some out.
MAX_STATS_BYTES = 256 * 2**20
MAX_LINE_BYTES = 64 * 2**10
# A training's records have 27 bytes and more for each number, counted as in `parse_records`.
MAX_NUMBERS = MAX_STATS_BYTES // 16
MAX_NAMES = 1000  # of numbers
_EACH_RECORD = 8  # as many numbers take as much memory as an empty record
_METRIC = b'"metric/'  # how the names of an evaluation's numbers begin
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
        raise SaganError(
            f"cannot read '{path}': {error}; move it away to go on without the numbers in it"
        ) from None


def thinned(lines: bytes) -> bytes:
    """Return about half of the lines of stats.jsonl, from its whole length, the first among them.

    Those with metrics stay, unless most lines have some: evaluations are few, and decide which step
    is the best.
    """
    all_lines = lines.splitlines(keepends=True)
    others = [n for n, line in enumerate(all_lines) if _METRIC not in line]
    if len(others) < len(all_lines) / 2:
        others = list(range(len(all_lines)))
    left_out = set(others[1::2])
    return b"".join(line for n, line in enumerate(all_lines) if n not in left_out)


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
