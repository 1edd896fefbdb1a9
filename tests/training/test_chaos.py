"""A short run of scripts/chaos.py: killed at random times, a training ends with the same bits."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "chaos.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
# With these seeds: for one process a kill while it writes and two requests to stop; for two also a
# kill at any time.
@pytest.mark.parametrize(("processes", "trials", "seed"), [(1, 1, 5), (2, 1, 3)])
def test_a_run_killed_at_random_times_ends_with_the_bits_of_an_undisturbed_one(
    processes: int, trials: int, seed: int, start_python: Callable[..., Any]
) -> None:
    command = [str(SCRIPT), "--trials", str(trials), "--seed", str(seed)]
    process = start_python([*command, "--processes", str(processes)])
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert f"{trials} of {trials} identical" in out
    assert "killed 0 times" not in out
