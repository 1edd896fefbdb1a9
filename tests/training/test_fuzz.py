"""A short run of scripts/fuzz.py: hostile files load, or are refused in one line, harmlessly."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz.py"


def test_every_command_loads_hostile_files_or_refuses_them_in_one_line() -> None:
    command = [sys.executable, str(SCRIPT), "--cases", "60", "--seed", "5", "--no-huge"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60 cases in " in done.stdout
