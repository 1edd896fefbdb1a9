"""How long a user waits: `sagan --help`, and from the launch of a training to its first step."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import Times, alternate, spread
from sagan.data import open_dataset
from sagan.run.stats import read_records

SAGAN = [sys.executable, "-m", "sagan"]
PRESET, SIZE = "cpu-32", 32


def measure(repetitions: int) -> Times:
    """Seconds of "help" and "first step", the latter on the built-in pictures, packed before."""
    with tempfile.TemporaryDirectory() as scratch:
        data = str(open_dataset("openmoji", SIZE).path)
        runs = (Path(scratch) / str(number) for number in range(repetitions))
        return alternate(
            {"help": show_help, "first step": lambda: train_one_step(data, next(runs))},
            repetitions,
            "startup",
        )


def show_help() -> None:
    """Run `sagan --help`."""
    subprocess.run([*SAGAN, "--help"], check=True, stdout=subprocess.DEVNULL)


def train_one_step(data: str, run: Path) -> None:
    """Start a training and wait until it has recorded its first step; then stop it."""
    command = [*SAGAN, "train", "--data", data, "--out", str(run), "--preset", PRESET]
    process = subprocess.Popen(
        [*command, "--set", "log_every=1", "--set", "sample_every=1000"],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": "80"},
    )
    try:
        # What is recorded of step 0 was there before any step.
        while not any(record["step"] > 0 for record in read_records(run)):
            if process.poll() is not None:
                raise SystemExit(f"sagan train ended with status {process.returncode}")
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def table(times: Times) -> list[str]:
    """The figures as lines of markdown."""
    return [
        "| | seconds |",
        "| --- | --- |",
        f"| `sagan --help` | {spread(times['help'], 2)} |",
        f"| launch to first `{PRESET}` step, packed data | {spread(times['first step'], 2)} |",
    ]
