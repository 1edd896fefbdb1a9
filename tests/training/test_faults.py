"""A short run of scripts/faults.py: whichever call of a save fails, a sound checkpoint stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "faults.py"
KINDS = [
    "crash", "crash in a write", "power cut", "power cut, names first", "short write", "ENOSPC",
]  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_after_a_fault_at_any_call_of_a_save_there_is_a_sound_checkpoint() -> None:
    kinds = [argument for kind in KINDS for argument in ("--kind", kind)]
    command = [sys.executable, str(SCRIPT), "save", *kinds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in KINDS:
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{kind}: ")]
        assert line.endswith("; 0 wrong")
        assert int(line.removeprefix(f"{kind}: ").split()[0]) >= (5 if "write" in kind else 25)
