"""All that is worth knowing of a GPU, in under ten minutes: `python -m benchmarks.gpu`.

    python -m benchmarks.gpu --out results
    python -m benchmarks.gpu --device cpu --tiny --presets smoke      # how the tests run it

Compares every attention kernel with float64 on the CPU, and the losses of 50 steps with those of
the CPU; times the steps of all presets, with and without CUDA graphs, in turn with naive code; and
lists peak memory and the kernels that take the longest. Each measurement is a process of its own,
so that none spoils another. Writes gpu.json and gpu.md, which also say what was not run, and why.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu import text
from benchmarks.machine import ROOT, describe_machine
from benchmarks.timing import progress
from sagan.config import Config
from sagan.presets import PRESETS

# The most important first, in case time runs out.
ORDER = (
    "sagan-128", "sagan-32", "cpu-32", "sagan-64", "dcgan-64", "sagan-256", "cpu-64", "cpu-128",
    "classic-32", "classic-64", "demo-32", "smoke", "sagan-128-studiogan", "sagan-128-long-batch",
)  # fmt: skip
PARITY = ("smoke", "cpu-32")
PROFILED = ("sagan-128", "cpu-32")
LONGEST = 120.0  # seconds of one measurement
LEAST = 15.0  # seconds that one needs to begin with
# Settings of a step by the name of the mode. Graphs are a setting that a version may lack.
MODES: dict[str, dict[str, Any]] = {"eager": {"compile": "none"}, "graphs": {"compile": "graphs"}}
# Beside what `auto` chooses, for two presets: for all, nine minutes would not do.
HALF: dict[str, Any] = {"compile": "none", "precision": "float16"}


class Bench:
    """The measurements so far.

    Args:
        device: where to compute: "cuda", "mps" or "cpu".
        tiny: whether to make networks and batches as small as possible.
        minutes: when to begin no more.
    """

    def __init__(self, device: str, tiny: bool, minutes: float) -> None:
        self.not_run: list[dict[str, str]] = []
        self._device = device
        self._tiny = tiny
        self._until = time.monotonic() + 60 * minutes

    def run(self, what: str, task: str, device: str = "", **arguments: Any) -> Any:
        """Run a task of `benchmarks.gpu.tasks` in its own process; return its result, or None.

        Args:
            what: its name for people.
            task: its function.
            device: where, by default the bench's.
            arguments: of the function.
        """
        left = self._until - time.monotonic()
        if left < LEAST:
            return self.skip(what, "no time was left")
        progress(f"{what} ({left:.0f} s left)")
        request = {"device": device or self._device, "tiny": self._tiny, **arguments}
        command = [sys.executable, "-m", "benchmarks.gpu.tasks", task, json.dumps(request)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=ROOT,
                timeout=min(left, LONGEST),
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            return self.skip(what, f"it took more than {late.timeout:.0f} s")
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            return self.skip(what, last[0][:300])
        return json.loads(done.stdout.strip().splitlines()[-1])

    def skip(self, what: str, why: str) -> None:
        """Record that something was not run."""
        self.not_run.append({"what": what, "why": why})
        progress(f"NOT RUN: {what}: {why}")


def main() -> None:
    """Run everything."""
    arguments = parse_arguments()
    bench = Bench(arguments.device, arguments.tiny, arguments.minutes)
    results: dict[str, Any] = {"machine": describe_machine()}
    results["device"] = bench.run("the device", "describe")
    if results["device"] is None:
        sys.exit(f"error: cannot compute on '{arguments.device}': {bench.not_run[0]['why']}")
    results["attention"] = bench.run("attention kernels against the CPU", "attention")
    results["training"] = [compare_training(bench, preset) for preset in PARITY]
    results["determinism"] = bench.run("the same bits twice", "determinism")
    results["kernels"] = {
        preset: bench.run(f"kernels of {preset}", "kernels", preset=preset)
        for preset in arguments.presets
        if preset in PROFILED or arguments.tiny
    }
    results["padding"] = bench.run("fused attention and its padding", "padding")
    results["steps"] = [time_steps(bench, preset) for preset in arguments.presets]
    if arguments.device != "cuda":
        bench.skip("peak memory", "torch counts it on CUDA only")
    results["not_run"] = bench.not_run
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = "\n".join(text.report(results)) + "\n"
    (arguments.out / "gpu.md").write_text(lines)
    print(lines)


def compare_training(bench: Bench, preset: str) -> dict[str, Any]:
    """Train with the same random numbers here, in two precisions, and on the CPU; return losses."""
    losses = {
        name: bench.run(
            f"50 steps of {preset}, {name}", "losses", device, preset=preset, precision=precision
        )
        for name, device, precision in (
            ("here", "", "float32"), ("cpu", "cpu", "float32"), ("here, float16", "", "float16"),
        )
    }  # fmt: skip
    return {"preset": preset, **losses}


def time_steps(bench: Bench, preset: str) -> dict[str, Any]:
    """Time a preset's step in every mode that this version has, and naive code beside it."""
    modes = {}
    offered = MODES | ({"float16": HALF} if preset in PROFILED else {})
    for mode, settings in offered.items():
        known = {key: value for key, value in settings.items() if key in Config.model_fields}
        if mode != "graphs" or known == settings:
            modes[mode] = known
        else:
            bench.skip(f"{preset}, {mode}", "this version has no setting 'compile'")
    found = bench.run(f"steps of {preset}", "step", preset=preset, modes=modes)
    if found is None and "graphs" in modes:  # graphs may end the whole process, or compile too long
        del modes["graphs"]
        found = bench.run(f"steps of {preset}, without graphs", "step", preset=preset, modes=modes)
    for name, why in found["failed"].items() if found is not None else ():
        bench.skip(f"{preset}, {name}", why)
    return {"preset": preset, **(found or {})}


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "mps", "cpu"))
    parser.add_argument("--presets", default=",".join(ORDER), help="by default all")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin nothing after them")
    parser.add_argument("--tiny", action="store_true", help="to try the script itself")
    parser.add_argument("--out", type=Path, default=Path("results"), help="results folder")
    arguments = parser.parse_args()
    arguments.presets = arguments.presets.split(",")
    for preset in arguments.presets:
        if preset not in PRESETS:
            parser.error(f"there is no preset '{preset}': choose from {', '.join(PRESETS)}")
    return arguments


if __name__ == "__main__":
    main()
