"""A short run of scripts/chaos.py: killed at random times, a training ends with the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "chaos.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
# With these seeds: for one process a kill while it writes and two requests to stop; for two also a
# kill at any time.
@pytest.mark.parametrize(("processes", "trials", "seed"), [(1, 1, 5), (2, 1, 3)])
def test_a_run_killed_at_random_times_ends_with_the_bits_of_an_undisturbed_one(
    processes: int, trials: int, seed: int
) -> None:
    command = [sys.executable, str(SCRIPT), "--trials", str(trials), "--seed", str(seed)]
    command += ["--processes", str(processes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{trials} of {trials} identical" in done.stdout
    assert "killed 0 times" not in done.stdout
