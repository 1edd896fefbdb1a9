"""A run's strip shows the same samples side by side, from the first grid to the last."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.errors import SaganError
from sagan.images.grid import image_grid
from sagan.report import write_strip

COLUMNS = 9


def save_grid(run: Path, step: int, brightness: int) -> None:
    (run / "samples").mkdir(exist_ok=True)
    images = np.full((80, 32, 32, 3), brightness, np.uint8)
    # The samples of a grid's first row can be told apart.
    images[:COLUMNS] += np.arange(COLUMNS, dtype=np.uint8)[:, None, None, None]
    Image.fromarray(image_grid(images, COLUMNS)).save(run / "samples" / f"step-{step:08d}.png")


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    copy = shutil.copytree(finished_run, tmp_path / "run")
    shutil.rmtree(copy / "samples")
    return copy


def test_a_row_is_one_sample_and_a_column_one_step(run: Path) -> None:
    for step, brightness in ((10, 40), (200, 120), (1500, 200)):
        save_grid(run, step, brightness)
    write_strip(run, run.parent / "strip.png")
    strip = np.asarray(Image.open(run.parent / "strip.png"))
    pitch, height = 98, 6 * 98 - 2
    bottom, right = strip.shape[0], strip.shape[1]
    assert bottom - height < 40  # above: the steps
    for row in range(6):
        for column, brightness in enumerate((40, 120, 200)):
            top, left = bottom - height + row * pitch, right - (3 * pitch - 2) + column * pitch
            cell = strip[top : top + 96, left : left + 96]
            assert (cell == brightness + row).all()


def test_many_grids_are_thinned_with_the_first_and_the_last(run: Path) -> None:
    for step in range(30):
        save_grid(run, step, 100 + step)
    write_strip(run, run.parent / "strip.png")
    strip = np.asarray(Image.open(run.parent / "strip.png"))
    columns = [int(strip[-1, strip.shape[1] - 1 - 98 * n, 0]) - 5 for n in reversed(range(8))]
    assert columns == sorted(set(columns))
    assert (columns[0], columns[-1]) == (100, 129)


def test_a_run_without_samples_is_refused_in_one_line(run: Path) -> None:
    with pytest.raises(SaganError, match="has saved no samples yet"):
        write_strip(run, run.parent / "strip.png")
