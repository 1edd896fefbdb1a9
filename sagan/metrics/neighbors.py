"""A figure of samples beside their nearest training images, to look for copies by eye."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sagan.figures import figure_style, save_figure
from sagan.images.rgb import as_rgb
from sagan.metrics.measures.distances import Neighbors
from sagan.types import ImageRows, UInt8Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS_PER_HALF = 8  # samples in each half
IMAGE_INCHES = 0.9  # side of an image
ROW_PITCH = 1.25  # from one row to the next, in sides of an image


def samples_to_show(neighbors: Neighbors) -> list[int]:
    """Return rows of samples: those nearest to a training image, then the first ones."""
    num = min(ROWS_PER_HALF, len(neighbors.distances))
    return [*np.argsort(neighbors.distances[:, 0], kind="stable")[:num].tolist(), *range(num)]


def draw_neighbors(
    samples: UInt8Array,
    numbers: Sequence[int],
    neighbors: Neighbors,
    train: ImageRows,
    out: Path,
    credits: str = "",
) -> None:
    """Write the figure: two samples per row, each with its nearest training images to the right.

    Args:
        samples: uint8 (2R, H, W, C), those of the left half and then those of the right half.
        numbers: numbers of these samples, 2R.
        neighbors: their nearest training images, (2R, k).
        train: uint8 (M, H, W, C), all training images.
        out: FILE.png, FILE.svg or FILE.pdf.
        credits: who made the training images; saved in the file.

    Raises:
        SaganError: the file has another extension, or cannot be written.
    """
    with figure_style():
        figure = _figure(samples, numbers, neighbors, train)
    save_figure(figure, out, credits)


def _figure(
    samples: UInt8Array,
    numbers: Sequence[int],
    neighbors: Neighbors,
    train: ImageRows,
) -> "Figure":
    from matplotlib.figure import Figure

    rows, k = len(samples) // 2, neighbors.indices.shape[1]
    columns = 2 * (k + 1) + 1  # one column between the halves stays empty
    figure = Figure(figsize=(IMAGE_INCHES * columns, IMAGE_INCHES * ROW_PITCH * rows))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, columns), ylim=(rows * ROW_PITCH, 0))
    axes.axis("off")

    def place(image: UInt8Array, row: int, column: int, text: str) -> None:
        left, top = column + 0.04, row * ROW_PITCH + ROW_PITCH - 1
        extent = (left, left + 0.92, top + 0.92, top)
        axes.imshow(as_rgb(image), extent=extent, interpolation="nearest", aspect="auto")
        axes.text(left, top - 0.06, text, fontsize=7)

    for i, sample in enumerate(samples):
        row, first = i % rows, (k + 2) * (i // rows)
        place(sample, row, first, "nearest" if i < rows else f"sample {numbers[i]}")
        pairs = zip(neighbors.indices[i], neighbors.distances[i], strict=True)
        for column, (index, distance) in enumerate(pairs, first + 1):
            place(train[index], row, column, f"{distance:.2f}")
    return figure
