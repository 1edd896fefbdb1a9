"""A run's film shows the grids that it saved, in order, large enough to be seen."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from sagan.errors import SaganError
from sagan.images.grid import image_grid
from sagan.report import write_film
from sagan.report.film import (
    FRAME_MILLISECONDS,
    LAST_MILLISECONDS,
    MAX_FRAME_PIXELS,
    MAX_FRAMES,
)

COLUMNS = 9  # of 80 images in 3 classes


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A run with three grids, each of one brightness."""
    copy = shutil.copytree(finished_run, tmp_path / "run")
    shutil.rmtree(copy / "samples")
    for step, brightness in ((100, 40), (200, 120), (1500, 200)):
        save_grid(copy, step, brightness)
    return copy


def save_grid(run: Path, step: int, brightness: int, size: int = 32, num: int = 80) -> None:
    (run / "samples").mkdir(exist_ok=True)
    images = np.full((num, size, size, 3), brightness, np.uint8)
    Image.fromarray(image_grid(images, COLUMNS)).save(run / "samples" / f"step-{step:08d}.png")


def frames_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as film:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]


def durations_of(path: Path) -> list[int]:
    durations = []
    with Image.open(path) as film:
        for frame in ImageSequence.Iterator(film):
            frame.load()
            durations.append(int(frame.info["duration"]))
    return durations


@pytest.mark.parametrize("name", ["film.gif", "film.webp", "FILM.WEBP"])
def test_a_film_has_each_grid_once_in_order_and_holds_the_last(run: Path, name: str) -> None:
    out = run.parent / name
    write_film(run, out)
    frames = frames_of(out)
    assert [frame[-50, -50, 0] for frame in frames] == pytest.approx([40, 120, 200], abs=6)
    assert durations_of(out) == [FRAME_MILLISECONDS] * 2 + [LAST_MILLISECONDS]
    with Image.open(out) as film:
        assert film.info["loop"] == 0
    assert {frame.shape for frame in frames} == {frames[0].shape}
    height, width, _ = frames[0].shape
    assert width == COLUMNS * 98 - 2
    assert height > 5 * 98


def test_frames_show_their_step_and_the_names_of_classes(run: Path) -> None:
    write_film(run, run.parent / "film.gif")
    heads = [frame[:34] < 128 for frame in frames_of(run.parent / "film.gif")]
    assert heads[0][:17].any()  # "step 100"
    assert (heads[0][:17] != heads[1][:17]).any()
    for column in range(COLUMNS):
        assert heads[0][17:, column * 98 : (column + 1) * 98].any()
    assert (heads[0][17:] == heads[1][17:]).all()


def test_a_long_training_of_large_images_has_a_film_of_bounded_size(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["config"] |= {"resolution": 128, "attention_g": [16], "attention_d": [16]}
    (run / "config.json").write_text(json.dumps(config))
    shutil.rmtree(run / "samples")
    for step in range(1, MAX_FRAMES + 20):
        save_grid(run, step, step, size=128, num=18)
    write_film(run, run.parent / "film.webp")
    frames = frames_of(run.parent / "film.webp")
    assert len(frames) == MAX_FRAMES
    height, width, _ = frames[0].shape
    assert height * width < 1.2 * MAX_FRAME_PIXELS
    assert min(height, width) > 128
    ends = [frame[-50, -50, 0] for frame in (frames[0], frames[-1])]
    assert ends == pytest.approx([1, MAX_FRAMES + 19], abs=6)


def test_files_that_are_not_grids_of_this_run_are_left_out(run: Path) -> None:
    save_grid(run, 1600, 90, size=31)
    save_grid(run, 1000, 90, num=18)
    (run / "samples" / "step-00001700.png").write_text("not an image")
    (run / "samples" / "step-00001800.png").symlink_to(run / "samples" / "step-00000100.png")
    os.mkfifo(run / "samples" / "step-00001900.png")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    (run / "samples" / "step-00002000.png").write_bytes(bomb.getvalue())
    write_film(run, run.parent / "film.gif")
    assert len(frames_of(run.parent / "film.gif")) == 3


def test_a_run_without_samples_and_other_endings_are_refused_in_one_line(run: Path) -> None:
    for name in ("film.mp4", "film.png", "film"):
        with pytest.raises(SaganError, match=r"a film is called FILE\.gif or FILE\.webp, not"):
            write_film(run, run.parent / name)
    shutil.rmtree(run / "samples")
    with pytest.raises(SaganError, match="has saved no samples yet") as raised:
        write_film(run, run.parent / "film.gif")
    assert "\n" not in str(raised.value)
    with pytest.raises(SaganError, match="not a run directory"):
        write_film(run.parent, run.parent / "film.gif")
    assert not list(run.parent.glob("film*"))


def test_a_film_contains_the_credits_of_the_data(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["data"]["credits"] = "First line é\nSecond line"
    (run / "config.json").write_text(json.dumps(config))
    for name in ("film.gif", "film.webp"):
        write_film(run, run.parent / name)
    with Image.open(run.parent / "film.gif") as film:
        assert film.info["comment"].decode() == "First line é\nSecond line"
    with Image.open(run.parent / "film.webp") as film:
        assert "First line é\nSecond line" in film.info["xmp"].decode()
