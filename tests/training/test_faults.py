"""A short run of scripts/faults.py: whichever call of a save fails, a sound checkpoint stays."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "faults.py"
KINDS = [
    "crash", "crash in a write", "power cut", "power cut, names first", "short write", "ENOSPC",
]  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_after_a_fault_at_any_call_of_a_save_there_is_a_sound_checkpoint(
    start_python: Callable[..., Any],
) -> None:
    kinds = [argument for kind in KINDS for argument in ("--kind", kind)]
    process = start_python([str(SCRIPT), "save", *kinds])
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    for kind in KINDS:
        (line,) = [line for line in out.splitlines() if line.startswith(f"{kind}: ")]
        assert line.endswith("; 0 wrong")
        assert int(line.removeprefix(f"{kind}: ").split()[0]) >= (5 if "write" in kind else 25)
