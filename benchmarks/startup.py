"""Startup times: `sagan --help`, and from the launch of a training to its first step."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import Times, alternate, spread
from sagan.data import open_dataset
from sagan.run.stats import read_records

SAGAN = [sys.executable, "-m", "sagan"]
PRESET, SIZE = "classic-32", 32


def measure(repetitions: int) -> Times:
    """Return seconds of "help" and "first step"; training uses the built-in images, packed."""
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
    """Start a training, wait for the record of its first step, and kill it."""
    command = [*SAGAN, "train", "--data", data, "--out", str(run), "--preset", PRESET]
    process = subprocess.Popen(
        [*command, "--set", "log_every=1", "--set", "sample_every=1000"],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": "80"},
    )
    try:
        # The record of step 0 is written before any step.
        while not any(record["step"] > 0 for record in read_records(run)):
            if process.poll() is not None:
                raise SystemExit(f"sagan train ended with status {process.returncode}")
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()


def table(times: Times) -> list[str]:
    """Return the figures as lines of Markdown."""
    return [
        "| | seconds |",
        "| --- | --- |",
        f"| `sagan --help` | {spread(times['help'], 2)} |",
        f"| launch to first `{PRESET}` step, packed data | {spread(times['first step'], 2)} |",
    ]
