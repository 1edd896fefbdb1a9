"""Samples beside the training pictures that are nearest to them, to look for copies by eye."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sagan.figures import figure_style, save_figure
from sagan.metrics.measures.distances import Neighbors
from sagan.types import UInt8Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 8  # samples in each half
INCH, PITCH = 0.9, 1.25  # of a picture, and from one row to the next in its sides


def suspects(neighbors: Neighbors) -> list[int]:
    """Rows of the samples to show: those nearest to a training picture, then the first ones."""
    num = min(ROWS, len(neighbors.distances))
    return [*np.argsort(neighbors.distances[:, 0], kind="stable")[:num].tolist(), *range(num)]


def draw_neighbors(
    samples: UInt8Array,
    numbers: Sequence[int],
    neighbors: Neighbors,
    train: UInt8Array,
    out: Path,
) -> None:
    """Write a picture: a sample in each row, and to its right the training pictures nearest to it.

    Args:
        samples: uint8 (2R, S, S, 3), the left half's and then the right half's.
        numbers: which samples these are, 2R.
        neighbors: of these samples, (2R, k).
        train: uint8 (M, S, S, 3), all training pictures.
        out: FILE.png, FILE.svg or FILE.pdf.

    Raises:
        SaganError: the file is of another kind, or cannot be written.
    """
    with figure_style():
        figure = _figure(samples, numbers, neighbors, train)
    save_figure(figure, out)


def _figure(
    samples: UInt8Array,
    numbers: Sequence[int],
    neighbors: Neighbors,
    train: UInt8Array,
) -> "Figure":
    from matplotlib.figure import Figure

    rows, k = len(samples) // 2, neighbors.indices.shape[1]
    columns = 2 * (k + 1) + 1  # an empty one between the halves
    figure = Figure(figsize=(INCH * columns, INCH * PITCH * rows))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, columns), ylim=(rows * PITCH, 0))
    axes.axis("off")

    def place(picture: UInt8Array, row: int, column: int, text: str) -> None:
        left, top = column + 0.04, row * PITCH + PITCH - 1
        extent = (left, left + 0.92, top + 0.92, top)
        axes.imshow(picture, extent=extent, interpolation="nearest", aspect="auto")
        axes.text(left, top - 0.06, text, fontsize=7)

    for i, sample in enumerate(samples):
        row, first = i % rows, (k + 2) * (i // rows)
        place(sample, row, first, "nearest" if i < rows else f"sample {numbers[i]}")
        pairs = zip(neighbors.indices[i], neighbors.distances[i], strict=True)
        for column, (index, distance) in enumerate(pairs, first + 1):
            place(train[index], row, column, f"{distance:.2f}")
    return figure
