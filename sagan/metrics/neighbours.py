"""Samples beside the training pictures that are nearest to them, to look for copies by eye."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sagan.explain.figure import save_figure
from sagan.metrics.distances import Neighbours
from sagan.pixels import UInt8Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 8  # samples in each half
INCH = 0.9  # side of a picture


def suspects(neighbours: Neighbours) -> list[int]:
    """The samples to show: those nearest to a training picture, then the first ones."""
    num = min(ROWS, len(neighbours.distances))
    return [*np.argsort(neighbours.distances[:, 0], kind="stable")[:num].tolist(), *range(num)]


def draw_neighbours(
    samples: UInt8Array, neighbours: Neighbours, train: UInt8Array, out: Path
) -> None:
    """Write a picture: a sample in each row, and to its right the training pictures nearest to it.

    Args:
        samples: uint8 (2R, S, S, 3), the left half's and then the right half's.
        neighbours: of these samples, (2R, k).
        train: uint8 (M, S, S, 3), all training pictures.
        out: FILE.png, FILE.svg or FILE.pdf.

    Raises:
        SaganError: the file is of another kind, or cannot be written.
    """
    save_figure(_figure(samples, neighbours, train), out)


def _figure(samples: UInt8Array, neighbours: Neighbours, train: UInt8Array) -> "Figure":
    from matplotlib.figure import Figure

    rows, k = len(samples) // 2, neighbours.indices.shape[1]
    columns = 2 * (k + 1) + 1  # an empty one between the halves
    figure = Figure(figsize=(INCH * columns, 1.25 * INCH * (rows + 0.5)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for i, sample in enumerate(samples):
        row = axes[i % rows, (k + 2) * (i // rows) :]
        row[0].imshow(sample, interpolation="nearest")
        pairs = zip(neighbours.indices[i], neighbours.distances[i], strict=True)
        for axis, (index, distance) in zip(row[1:], pairs, strict=False):
            axis.imshow(train[index], interpolation="nearest")
            axis.set_title(f"{distance:.1f}", fontsize=8)
    axes[0, 0].set_title("nearest\nof all", fontsize=8)
    axes[0, k + 2].set_title("first\nsamples", fontsize=8)
    return figure
