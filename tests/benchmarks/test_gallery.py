"""The gallery of trainings: a row of samples for each, named by images, minutes and start."""

from pathlib import Path

from PIL import Image

from benchmarks import gallery

CELL = {
    "images": 3000, "minutes": 10.0, "arm": "from", "model": "avatars-64", "preset": "demo-32",
    "steps": 1200, "metrics": {"KD-X": 1.0, "FD-X": 12.34},
}  # fmt: skip


def test_a_row_has_the_first_samples_of_its_run(finished_run: Path, tmp_path: Path) -> None:
    cells = [CELL | {"run": str(finished_run)}, CELL | {"run": str(finished_run), "arm": "scratch"}]
    gallery.draw(cells, tmp_path / "gallery.png")
    grid = Image.open(tmp_path / "gallery.png")
    width, height = gallery.COLUMNS * (64 + 2) - 2, 2 * (64 + 2) - 2
    assert grid.height == height
    assert grid.width > width  # the margin with what each row is
    left = grid.width - width
    first, second = (grid.crop((left, top, grid.width, top + 64)) for top in (0, 66))
    assert first.tobytes() == second.tobytes()  # the same run, latents and classes
    names = [grid.crop((0, top, left, top + 64)).tobytes() for top in (0, 66)]
    assert names[0] != names[1]


def test_the_table_says_what_each_row_was() -> None:
    assert gallery.table([CELL])[-1] == (
        "| 3,000 | 10 | from avatars-64 | `demo-32` | 1,200 | 12.3 |"
    )
