"""Few images, few minutes, from scratch and from a model: `python -m benchmarks.transfer SRC`.

Some of a set's images are trained on, the others of the same classes are the reference. Each
training gets the same minutes; a number is the Frechet distance (FD) of 10,000 samples to the
reference. Every finished training is a file in the results folder and is not repeated, so that the
experiment can be stopped at any time, and continued with the same command.

    python -m benchmarks.transfer tinyimagenet20-64.zip --out results/transfer-32 \\
        --from cifar10-32 --classes school_bus,golden_retriever,espresso,king_penguin
    python -m benchmarks.transfer faces-64 --from avatars-64 --out results/transfer-64

Nothing else should run on the machine meanwhile.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import machine
from benchmarks.timing import progress
from sagan.cli.console import open_console
from sagan.data import PackedDataset, open_dataset, open_source, pack
from sagan.data.packed import is_packed
from sagan.display import reporter_for
from sagan.errors import SaganError
from sagan.metrics import evaluate
from sagan.metrics.features.network import DEFAULT_FEATURES, open_network
from sagan.model import open_model
from sagan.runtime.malloc import keep_freed_memory
from sagan.training.assignments import parse_assignments
from sagan.training.loop import train
from sagan.training.session import prepare_session
from sagan.training.time_plan import make_plan

DEFAULT_ARMS = ("scratch", "from")
# Freezing is not possible from a projected model, whose first layers are frozen in any case.
ARMS = (*DEFAULT_ARMS, "from-freeze")
MAY_DIFFER = {"out", "arms", "seeds"}  # between calls that share their results
# All the time is for steps.
UNTIMED = {"evaluate_every": 0, "sample_every": 10**6, "checkpoint_minutes": 0.0}


def main() -> None:
    """Train and measure what is still missing, then print the table."""
    arguments = parse_arguments()
    keep_freed_memory()
    keep_settings(arguments)
    size = arguments.size or open_model(arguments.model).config.resolution
    train_set, rest = split_images(
        arguments.source, size, arguments.classes, arguments.images, arguments.out
    )
    cells = []
    for seed in range(arguments.seeds):
        for arm in arguments.arms:
            cells.append(measure(arm, seed, size, train_set, rest, arguments))
            results = {"machine": machine.describe_machine(), "cells": cells}
            (arguments.out / "transfer.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = table(cells)
    (arguments.out / "transfer.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def keep_settings(arguments: argparse.Namespace) -> None:
    """Write down what decides the results in --out, and end if there are some of other settings."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "settings.json"
    settings = {name: v for name, v in vars(arguments).items() if name not in MAY_DIFFER}
    if file.exists() and json.loads(file.read_text()) != settings:
        sys.exit(f"error: '{arguments.out}' has results of other settings: give another --out")
    file.write_text(json.dumps(settings, indent=1) + "\n")


def split_images(
    source: str, size: int, classes: Sequence[str], num: int, out: Path
) -> tuple[PackedDataset, PackedDataset]:
    """Return `num` images, equally many of each class, and the others, as packed sets in `out`.

    Raises:
        SaganError: there are too few images, or a class does not exist.
    """
    folders = out / "train", out / "rest"
    if not all(folder.exists() for folder in folders):
        dataset = open_dataset(
            source, size, split=None if is_packed(Path(source)) else "all", notify=progress
        )
        for folder, rows in zip(folders, choose_rows(dataset, classes, num), strict=True):
            files = out / f"{folder.name}-files"
            shutil.rmtree(files, ignore_errors=True)
            for row in rows:
                name = ""
                if dataset.labels is not None and dataset.num_classes > 1:
                    name = dataset.classes[dataset.labels[row]]
                (files / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(dataset.images[row]).save(files / name / f"{row:06}.png")
            pack(open_source(str(files)), folder, size)
            shutil.rmtree(files)
    train_set, rest = (PackedDataset.open(folder) for folder in folders)
    return train_set, rest


def choose_rows(
    dataset: PackedDataset, classes: Sequence[str], num: int
) -> tuple[list[int], list[int]]:
    """Return rows to train on and the other rows of the same classes; the same in every run.

    Raises:
        SaganError: there are too few images, or a class does not exist.
    """
    if missing := set(classes) - set(dataset.classes):
        raise SaganError(f"'{dataset.source}' has no class '{sorted(missing)[0]}'")
    labels = dataset.labels if dataset.labels is not None else np.zeros(len(dataset), np.int64)
    chosen = [dataset.classes.index(name) for name in classes] or sorted(set(labels.tolist()))
    rng, each = np.random.default_rng(0), num // len(chosen)
    used: list[int] = []
    rest: list[int] = []
    for label in chosen:
        rows = rng.permutation(np.flatnonzero(labels == label)).tolist()
        used, rest = used + rows[:each], rest + rows[each:]
    if len(used) < each * len(chosen) or not rest:
        raise SaganError(f"'{dataset.source}' has fewer than {num} images and others to compare")
    return used, rest


def measure(
    arm: str,
    seed: int,
    size: int,
    train_set: PackedDataset,
    rest: PackedDataset,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Return what one training gave: from its file, or else by training and measuring."""
    file = arguments.out / f"{arm}-{seed}.json"
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text())
        return found
    run = arguments.out / f"{arm}-{seed}"
    shutil.rmtree(run, ignore_errors=True)  # of a training that was stopped: its time is unknown
    settings = UNTIMED | {"seed": seed, "minutes": arguments.minutes, "resolution": size}
    settings |= parse_assignments(arguments.set)
    start, preset = None, arguments.preset
    if arm != "scratch":
        start, preset = arguments.model, None
        settings |= parse_assignments(arguments.set_from)
    if arm == "from-freeze":
        settings["freeze_d"] = arguments.freeze
    session = prepare_session(
        str(train_set.path), run, preset, settings, notify=progress, start=start
    )
    progress(f"{arm}, seed {seed}: {arguments.minutes:g} minutes")
    started = time.perf_counter()
    session = make_plan(session, progress)
    train(session, reporter_for(open_console()))
    seconds = time.perf_counter() - started
    model = open_model(run)
    network = open_network(arguments.features)
    document = evaluate(model, rest, metrics=("fid", "kid"), network=network)
    cell = {
        "arm": arm,
        "seed": seed,
        "model": arguments.model,
        "preset": session.description.preset,
        "steps": model.step,
        "seconds": round(seconds, 1),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "settings": {k: v for k, v in settings.items() if k not in UNTIMED},
        **document,
    }
    file.write_text(json.dumps(cell, indent=1) + "\n")
    return cell


def table(cells: list[dict[str, Any]]) -> list[str]:
    """Return the distances as lines of Markdown: by arm, with ratios to the same seed's scratch."""
    first = distance_name(cells)
    distances = {(cell["arm"], cell["seed"]): cell["metrics"][first] for cell in cells}
    lines = [f"| arm | steps | {first}, by seed | ratio to scratch |", "| --- | --- | --- | --- |"]
    for arm in dict.fromkeys(cell["arm"] for cell in cells):
        own = [cell for cell in cells if cell["arm"] == arm]
        ratios = [
            distances[arm, cell["seed"]] / distances["scratch", cell["seed"]]
            for cell in own
            if ("scratch", cell["seed"]) in distances
        ]
        steps = statistics.median(cell["steps"] for cell in own)
        listed = ", ".join(f"{distances[arm, cell['seed']]:.1f}" for cell in own)
        ratio = f"{statistics.mean(ratios):.2f}" if ratios else ""
        lines.append(f"| {arm} | {steps:,.0f} | {listed} | {ratio} |")
    return lines


def distance_name(cells: list[dict[str, Any]]) -> str:
    """Return the name of the cells' Frechet distance, which says of which features it is."""
    return next(name for name in cells[0]["metrics"] if name.startswith("F"))


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transfer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_training_options(parser)
    parser.add_argument("--images", type=int, default=800, help="images to train on")
    parser.add_argument("--arms", type=listed, default=list(DEFAULT_ARMS), help=", ".join(ARMS))
    parser.add_argument("--freeze", type=int, default=2, help="freeze_d of the arm from-freeze")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--out", type=Path, default=Path("results/transfer"))
    arguments = parser.parse_args()
    if unknown := set(arguments.arms) - set(ARMS):
        parser.error(f"there is no arm '{sorted(unknown)[0]}': choose from {', '.join(ARMS)}")
    return arguments


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add what is trained on, from which model, and how."""
    parser.add_argument("source", help="images to choose from: a zip, a folder or a packed set")
    parser.add_argument("--from", dest="model", default="cifar10-32", help="the model")
    parser.add_argument("--size", type=int, help="pixels; by default the model's")
    parser.add_argument("--classes", type=listed, default=[], help="by default all")
    parser.add_argument("--features", default=DEFAULT_FEATURES, help="of the distances")
    parser.add_argument("--preset", help="of the arm scratch; by default what suits the time")
    parser.add_argument("--set", action="append", default=[], help="a setting of all arms")
    parser.add_argument("--set-from", action="append", default=[], help="one of the others only")


def listed(text: str) -> list[str]:
    """Return the parts between commas."""
    return [part.strip() for part in text.split(",")]


if __name__ == "__main__":
    main()
