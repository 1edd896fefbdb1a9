"""What a run recorded as numbers: RUN/stats.jsonl, one object a line."""

import json
from pathlib import Path
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, float]


def read_statistics(run: Path) -> list[Record]:
    """The records of RUN/stats.jsonl; lines that a crash cut short are left out."""
    path = run / "stats.jsonl"
    if not path.is_file():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records
