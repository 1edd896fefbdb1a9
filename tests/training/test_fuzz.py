"""A short run of scripts/fuzz.py: untrusted files load, or are refused in one line."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz.py"


def test_mutated_models_runs_and_data_sets_load_or_are_refused_in_one_line() -> None:
    command = [sys.executable, str(SCRIPT), "--files", "80", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "80 files: " in done.stdout
