"""A short form of scripts/chaos.py: killed at random instants, a run ends with the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "chaos.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_a_run_killed_at_random_instants_ends_with_the_bits_of_an_untouched_one() -> None:
    command = [sys.executable, str(SCRIPT), "--trials", "2", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 identical" in done.stdout
    assert "killed 0 times" not in done.stdout
