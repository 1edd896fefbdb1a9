"""The progress of a training in one picture: the same samples, step by step, from left to right."""

from pathlib import Path

import numpy as np

from sagan.errors import SaganError
from sagan.gallery import save_image
from sagan.images.grid import Captions, captioned_grid, visible_scale
from sagan.report.snapshots import read_grid, snapshots, spread
from sagan.run.run import Run
from sagan.sampling import GRID_IMAGES, grid_labels

MAX_ROWS, MAX_COLUMNS = 6, 8


def write_strip(run: Path, out: Path) -> None:
    """Write FILE.png with a row for each of some samples that a run saved, of different classes.

    Args:
        run: a run directory, finished or not.
        out: the file.

    Raises:
        SaganError: `run` is not a run directory, has saved no samples yet, or the file cannot be
            written.
    """
    found = Run(run)
    found.require()
    description = found.description
    shape = description.config.shape
    grids = {
        step: grid
        for step, path in spread(list(snapshots(run / "samples").items()), MAX_COLUMNS)
        if (grid := read_grid(path, shape)) is not None
    }
    if not grids:
        raise SaganError(f"'{run}' has saved no samples yet: train longer, then try again")
    # The first row of a grid has a sample of each class, as far as they fit.
    rows = min(MAX_ROWS, *(grid.shape[1] for grid in grids.values()))
    images = np.stack([grid[0, row] for row in range(rows) for grid in grids.values()])
    labels = grid_labels(GRID_IMAGES, len(description.classes)) or []
    captions = Captions(
        columns=[f"step {step:,}" for step in grids],
        rows=[description.classes[label] for label in labels[:rows]],
    )
    strip = captioned_grid(images, len(grids), visible_scale(shape, len(images)), captions)
    save_image(strip, out, description.credits)
