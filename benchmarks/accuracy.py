"""Minutes until samples show their class: `python -m benchmarks.accuracy RUN... --data SRC`.

Each run was trained with `--set keep_every=N`: its checkpoints are measured one by one. Minutes are
those that the run spent in steps; trainings that are compared must have had the same cores. The
class of a sample is read by a network that no training here looks through (`cifar-judge`).

    sagan train --data cifar10.zip --preset cpu-32 --out runs/cpu-32 --set keep_every=500
    sagan train --data cifar10.zip --preset classic-32 --out runs/classic-32 --set keep_every=1000
    python -m benchmarks.accuracy runs/cpu-32 runs/classic-32 --data cifar10.zip
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.timing import progress
from sagan.data import open_dataset
from sagan.errors import SaganError
from sagan.metrics import evaluate
from sagan.metrics.features.network import open_network
from sagan.metrics.samples import SamplePlan
from sagan.model import open_model
from sagan.run.checkpoint import checkpoints

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7)
FEATURES, ACCURACY = "cifar-judge", "class-accuracy"
CHANCE = 0.1


def main() -> None:
    """Measure what is still missing in the results file, then print the table."""
    arguments = parse_arguments()
    results: dict[str, Any] = {}
    if arguments.out.exists():
        results = json.loads(arguments.out.read_text())["runs"]
    try:
        for run in arguments.runs:
            found = results.setdefault(str(run), {})
            for checkpoint in checkpoints(run):
                if checkpoint.name not in found:
                    progress(f"{run}, {checkpoint.name}")
                    found[checkpoint.name] = measure(checkpoint, arguments)
                    record = {"machine": machine.describe_machine(), "runs": results}
                    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    except SaganError as error:
        sys.exit(f"error: {error}")
    print("\n".join(table(results)))


def measure(checkpoint: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Return one checkpoint's minutes and the numbers of its samples."""
    model = open_model(checkpoint)
    real = open_dataset(arguments.data, model.config.resolution, split="test", notify=progress)
    train = open_dataset(arguments.data, model.config.resolution, notify=progress)
    document = evaluate(
        model,
        real,
        train=train,
        metrics=("fid", ACCURACY),
        network=open_network(FEATURES),
        plan=SamplePlan(arguments.num),
    )
    state = json.loads((checkpoint / "state.json").read_text())
    return {"step": model.step, "minutes": state["seconds"] / 60, **document["metrics"]}


def table(results: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Return Markdown: for each run, the minutes at which it first reaches each share."""
    heads = [f"{share:.0%}" for share in SHARES]
    lines = [f"| run | {' | '.join(heads)} | best |", "| --- " * (len(heads) + 2) + "|"]
    for name, found in results.items():
        points = sorted(found.values(), key=lambda point: point["minutes"])
        reached = [first_minutes(points, share) for share in SHARES]
        best = max(points, key=lambda point: point[ACCURACY])
        cells = [f"{minutes:.0f}" if minutes is not None else "not" for minutes in reached]
        last = f"{best[ACCURACY]:.0%} after {best['minutes']:.0f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {last} |")
    return lines


def first_minutes(points: Sequence[dict[str, float]], share: float) -> float | None:
    """Return when a run's samples first reach a share, between checkpoints along a line.

    Args:
        points: of one run, by time.
        share: of the samples, recognized.

    Returns:
        Minutes, or None if it never does.
    """
    before = {"minutes": 0.0, ACCURACY: CHANCE}
    for point in points:
        if point[ACCURACY] >= share:
            part = (share - before[ACCURACY]) / (point[ACCURACY] - before[ACCURACY])
            return before["minutes"] + part * (point["minutes"] - before["minutes"])
        before = point
    return None


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", type=Path, nargs="+", help="runs with several checkpoints")
    parser.add_argument("--data", required=True, help="CIFAR-10, with a test split")
    parser.add_argument("--num", type=int, default=5000, help="samples of each checkpoint")
    parser.add_argument("--out", type=Path, default=Path("accuracy.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
