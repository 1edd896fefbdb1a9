"""What comes of N images and so many minutes, to look at: `python -m benchmarks.gallery SRC`.

A row of samples for each number of images and each time, from scratch and from a model: the first
ten of a fixed seed, not chosen. Trainings are those of `benchmarks.transfer`, one seed each, and
are kept likewise: stopped at any time, the same command continues with the one that was running.

    python -m benchmarks.gallery avatars@25000 --from cifar10-32 --out results/gallery

Nothing else should run on the machine meanwhile.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import progress
from benchmarks.transfer import (
    add_training_options,
    distance_name,
    keep_settings,
    listed,
    measure,
    split_images,
)
from sagan.gallery import save_image
from sagan.images.grid import Captions, captioned_grid
from sagan.model import open_model
from sagan.runtime.malloc import keep_freed_memory

COLUMNS, SEED = 10, 0
ARMS = {"scratch": "from scratch", "from": "from {model}"}


def main() -> None:
    """Train what is still missing, then draw the gallery and print the table."""
    arguments = parse_arguments()
    keep_freed_memory()
    size = arguments.size or open_model(arguments.model).config.resolution
    cells = [
        measure_cell(num, minutes, arm, size, arguments)
        for num, minutes, arm in itertools.product(arguments.images, arguments.minutes, ARMS)
    ]
    draw(cells, arguments.out / "gallery.png")
    lines = table(cells)
    (arguments.out / "gallery.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def measure_cell(
    num: int, minutes: float, arm: str, size: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return what one training gave, with its number of images, its minutes and its folder."""
    out = arguments.out / f"{num}-{minutes:g}"
    own = {"out": out, "minutes": minutes, "images": num}
    options = argparse.Namespace(**{**vars(arguments), **own})
    keep_settings(options)
    train_set, rest = split_images(arguments.source, size, arguments.classes, num, out)
    cell = measure(arm, SEED, size, train_set, rest, options)
    return cell | {"images": num, "minutes": minutes, "run": str(out / f"{arm}-{SEED}")}


def draw(cells: list[dict[str, Any]], out: Path) -> None:
    """Write a row of samples for each cell, the classes in turn."""
    rows = []
    for cell in cells:
        generator = open_model(Path(cell["run"])).generator()
        labels = np.arange(COLUMNS) % generator.num_classes if generator.num_classes else None
        rows.append(generator.sample(COLUMNS, labels, seed=SEED))
    captions = Captions(
        rows=[
            f"{cell['images']:,} images, {cell['minutes']:g} minutes, "
            + ARMS[cell["arm"]].format(model=cell["model"])
            for cell in cells
        ]
    )
    scale = max(1, 64 // rows[0].shape[1])
    save_image(captioned_grid(np.concatenate(rows), COLUMNS, scale, captions), out)
    progress(f"wrote {out}")


def table(cells: list[dict[str, Any]]) -> list[str]:
    """Return the cells as lines of Markdown."""
    first = distance_name(cells)
    lines = [
        f"| images | minutes | start | recipe | steps | {first} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells:
        start = ARMS[cell["arm"]].format(model=cell["model"])
        lines.append(
            f"| {cell['images']:,} | {cell['minutes']:g} | {start} | `{cell['preset']}` "
            f"| {cell['steps']:,} | {cell['metrics'][first]:.1f} |"
        )
    return lines


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gallery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_training_options(parser)
    parser.add_argument(
        "--images", type=_numbers, default=[200, 800, 3000, 20_000], help="numbers of images"
    )
    parser.add_argument("--minutes", type=_minutes, default=[10.0, 60.0], help="times")
    parser.add_argument("--out", type=Path, default=Path("results/gallery"))
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in listed(text)]


def _minutes(text: str) -> list[float]:
    return [float(part) for part in listed(text)]


if __name__ == "__main__":
    main()
