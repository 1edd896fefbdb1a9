"""A short run of scripts/fuzz.py: hostile files load, or are refused in one line, harmlessly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz.py"


def test_every_command_loads_hostile_files_or_refuses_them_in_one_line(
    start_python: Callable[..., Any], nightly: bool
) -> None:
    cases = 500 if nightly else 30
    process = start_python([SCRIPT, "--cases", cases, "--seed", 5, "--no-huge"])
    out, err = process.communicate(timeout=20 * cases)
    assert process.returncode == 0, out + err
    assert f"{cases} cases in " in out
