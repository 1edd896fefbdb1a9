"""Our code and naive code side by side: `python -m benchmarks [PART ...]`.

Parts: step, sampling, attention, memory, startup, curves, scaling, ops; by default all of them,
which takes most of an hour. Each writes PART.json and PART.md, with machine, versions and commit,
into the results folder. Nothing else should run on the machine meanwhile.

    python -m benchmarks step --presets dcgan-64,classic-32 --repetitions 3
    python -m benchmarks step --presets dcgan-64 --checkout ../Self-Attention-GAN
    python -m benchmarks memory --forms full --positions 1024,16384
"""

import argparse
import dataclasses
import json
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import attention, curves, machine, memory, ops, sampling, scaling, startup, step
from benchmarks.timing import progress
from sagan.errors import SaganError
from sagan.nn.attention import FORMS
from sagan.presets import PRESETS
from sagan.runtime.malloc import keep_freed_memory


def main() -> None:
    """Measure the parts given on the command line."""
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    # As the command line does: on a virtual machine, clearing fresh pages is the main source of
    # noise. In the part "step", each contender has its own process.
    keep_freed_memory()
    for part in arguments.parts or PARTS:
        progress(f"== {part}")
        try:
            results, lines = PARTS[part](arguments)
        except SaganError as error:
            sys.exit(f"error: {error}")
        write(arguments.out, part, results, lines)


def write(out: Path, part: str, results: Any, lines: list[str]) -> None:
    """Write PART.json and PART.md, and print PART.md."""
    described = machine.describe_machine()
    record = {"part": part, "machine": described, "results": as_json(results)}
    (out / f"{part}.json").write_text(json.dumps(record, indent=1) + "\n")
    stamp = ", ".join(f"{name} {value}" for name, value in described.items())
    text = "\n".join([f"## {part}", "", *lines, "", f"Measured on: {stamp}."]) + "\n"
    (out / f"{part}.md").write_text(text)
    print(text)


def as_json(results: Any) -> Any:
    """Return results with data classes as dictionaries."""
    if isinstance(results, list):
        return [dataclasses.asdict(result) for result in results]
    return results


def run_step(arguments: argparse.Namespace) -> tuple[Any, list[str]]:
    results = [
        step.measure(preset, arguments.repetitions, arguments.checkout)
        for preset in arguments.presets or step.PRESETS
    ]
    return results, step.table(results)


def run_sampling(arguments: argparse.Namespace) -> tuple[Any, list[str]]:
    presets = arguments.presets or step.PRESETS
    results = [sampling.measure(preset, arguments.repetitions) for preset in presets]
    return results, sampling.table(results)


def run_attention(arguments: argparse.Namespace) -> tuple[Any, list[str]]:
    precisions = attention.PRECISIONS[: 1 + machine.has_bfloat16()]
    sides = [side for side in attention.SIDES if side**2 in arguments.positions]
    results = attention.measure(arguments.forms, precisions, sides, arguments.repetitions)
    return results, attention.table(results)


def run_memory(arguments: argparse.Namespace) -> tuple[Any, list[str]]:
    sides = [math.isqrt(positions) for positions in arguments.positions]
    results = memory.measure(arguments.forms, sides, arguments.repetitions)
    return results, memory.table(results)


def run_startup(arguments: argparse.Namespace) -> tuple[Any, list[str]]:
    times = startup.measure(arguments.repetitions)
    return times, startup.table(times)


def run_curves(arguments: argparse.Namespace) -> tuple[Any, list[str]]:
    points = curves.measure(arguments.repetitions)
    return points, curves.table(points)


def run_scaling(arguments: argparse.Namespace) -> tuple[Any, list[str]]:
    """Compute from the part "step", which must be in the results folder."""
    file = arguments.out / "step.json"
    if not file.is_file():
        raise SaganError(f"the part scaling needs '{file}': measure the part step first")
    steps = {
        result["preset"]: statistics.median(result["seconds"]["ours"])
        for result in json.loads(file.read_text())["results"]
    }
    return steps, scaling.table(steps)


def run_ops(arguments: argparse.Namespace) -> tuple[Any, list[str]]:
    results = [ops.measure(preset) for preset in arguments.presets or ops.PRESETS]
    return results, ops.table(results)


PARTS: dict[str, Callable[[argparse.Namespace], tuple[Any, list[str]]]] = {
    "step": run_step,
    "sampling": run_sampling,
    "attention": run_attention,
    "memory": run_memory,
    "startup": run_startup,
    "curves": run_curves,
    "scaling": run_scaling,
    "ops": run_ops,
}


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--presets", type=names(PRESETS), help="by default some")
    parser.add_argument("--forms", type=names(FORMS), default=list(FORMS))
    parser.add_argument(
        "--positions",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[side**2 for side in memory.SIDES],
        help="N in the parts memory and attention; squares",
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--checkout", type=Path, help="also time a checkout with sagan_models.py")
    parser.add_argument("--out", type=Path, default=Path("results"), help="results folder")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"there is no part '{part}': choose from {', '.join(PARTS)}")
    if arguments.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    return arguments


def names(known: Any) -> Callable[[str], list[str]]:
    """Return an argument type for comma-separated names from `known`."""

    def parse(text: str) -> list[str]:
        for name in text.split(","):
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"there is no '{name}': choose from {', '.join(known)}"
                )
        return text.split(",")

    return parse


if __name__ == "__main__":
    main()
