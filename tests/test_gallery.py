"""Samples as files: complete or not at all, and none overwrites another."""

import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sagan import gallery
from sagan.build import build_networks
from sagan.config import Config
from sagan.errors import SaganError
from sagan.gallery import write_interpolation, write_samples
from sagan.sampling import grid_labels, sample_batches

CLASSES = ("a/b", "a_b", ".a_b", "x\ud800\x1b")


@pytest.fixture
def draw(tiny_config: Callable[..., Config]) -> Callable[..., None]:
    """draw(out): eight samples, two of each class."""
    generator, _ = build_networks(tiny_config(conditional=True), len(CLASSES))
    generator.eval()
    return lambda out: write_samples(generator, out, 8, None, CLASSES, seed=0, truncation=1.0)


def test_classes_that_share_a_folder_name_lose_no_sample(
    draw: Callable[[Path], None], tmp_path: Path
) -> None:
    draw(tmp_path / "folder-0.7")
    names = sorted(p.relative_to(tmp_path / "folder-0.7") for p in tmp_path.rglob("*.png"))
    numbers = {
        folder: sum(p.parts[0] == folder for p in names) for folder in ("a_b", "x\ufffd\ufffd")
    }
    assert numbers == {"a_b": 6, "x\ufffd\ufffd": 2}
    assert len(names) == 8
    draw(tmp_path / "new" / "all.zip")
    with zipfile.ZipFile(tmp_path / "new" / "all.zip") as archive:
        assert sorted(map(Path, archive.namelist())) == names
    draw(tmp_path / "GRID.PNG")
    with Image.open(tmp_path / "GRID.PNG") as grid:
        assert grid.size[0] > 4 * 32


def test_classes_that_differ_only_in_case_or_accents_lose_no_sample_on_any_disk(
    tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    classes = ("cat", "Cat", "\u00e9", "e\u0301")
    generator, _ = build_networks(tiny_config(conditional=True), len(classes))
    write_samples(generator.eval(), tmp_path / "a.zip", 8, None, classes, seed=0, truncation=1.0)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = {unicodedata.normalize("NFD", name).lower() for name in archive.namelist()}
    assert len(names) == 8


def test_an_animation_taller_than_a_gif_can_be_is_refused_before_sampling(
    tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    generator, _ = build_networks(tiny_config(conditional=True), 2)
    with pytest.raises(SaganError, match="2000 rows are too many"):
        write_interpolation(generator, tmp_path / "a.gif", 10**6, [0] * 2000, 0, 1.0)


def test_an_interrupted_zip_leaves_the_old_one(
    draw: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "all.zip"
    draw(out)
    before, files = out.read_bytes(), gallery._files

    def interrupted(*given: Any) -> Iterator[tuple[str, bytes]]:
        yield next(files(*given))
        raise KeyboardInterrupt

    monkeypatch.setattr(gallery, "_files", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw(out)
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("class_name", "folder"),
    [
        ("3:00?", "3_00_"),
        ("a<b>|*", "a_b___"),
        ("etc. ", "etc"),
        ("CON", "_CON"),
        ("nul.tar", "_nul.tar"),
        ("console", "console"),
        ("..", "_"),
        ("x" * 300, "x" * 200),
        ("é" * 150, "é" * 100),
    ],
)
def test_a_class_gets_a_folder_that_every_system_can_have(
    tiny_config: Callable[..., Config], tmp_path: Path, class_name: str, folder: str
) -> None:
    generator, _ = build_networks(tiny_config(conditional=True), 2)
    classes = (class_name, "other")
    write_samples(generator.eval(), tmp_path / "out", 2, None, classes, seed=0, truncation=1.0)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {folder, "other"}


@pytest.mark.parametrize("num", [1, 64, 150])
def test_batches_have_the_pixels_of_all_samples_drawn_at_once(
    num: int, tiny_config: Callable[..., Config]
) -> None:
    generator, _ = build_networks(tiny_config(conditional=True), 3)
    generator.eval()
    labels = grid_labels(num, 3)
    batches = list(sample_batches(generator, num, labels, 7, 0.8))
    assert max(map(len, batches)) <= 64
    np.testing.assert_array_equal(
        np.concatenate(batches), generator.sample(num, labels, 7, truncation=0.8)
    )


@pytest.fixture
def interrupted(tiny_config: Callable[..., Config]) -> Callable[..., None]:
    """interrupted(out, error): draws 200 samples, and fails after the first 128."""
    generator, _ = build_networks(tiny_config(conditional=False), 0)
    generator.eval()

    def call(out: Path, error: BaseException) -> None:
        def progress(done: int, total: int | None) -> None:
            if done == 128:
                raise error

        write_samples(generator, out, 200, None, (), 0, 1.0, progress)

    return call


FULL_DISK = OSError(28, "No space left on device")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), FULL_DISK, SystemExit(143)])
@pytest.mark.parametrize("existing", [False, True])
def test_an_interrupted_folder_is_as_before_and_can_be_used_again(
    error: BaseException,
    existing: bool,
    interrupted: Callable[..., None],
    draw: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    if existing:
        out.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((KeyboardInterrupt, SaganError, SystemExit)):
        interrupted(out, error)
    assert sorted(tmp_path.rglob("*")) == before
    draw(out)
    assert len(list(out.rglob("*.png"))) == 8
    assert not list(tmp_path.rglob(".*"))


def test_memory_does_not_grow_with_the_number_of_samples(
    tiny_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, _ = build_networks(tiny_config(conditional=False), 0)
    sample, sizes = generator.eval().sample, []

    def counted(num: int, *args: Any, **options: Any) -> Any:
        sizes.append(num)
        return sample(num, *args, **options)

    monkeypatch.setattr(generator, "sample", counted)
    write_samples(generator, tmp_path / "out", 200, None, (), 0, 1.0)
    assert sizes == [64, 64, 64, 8]
    assert len(list((tmp_path / "out").iterdir())) == 200


def test_a_grid_of_gigabytes_is_refused_before_sampling(
    tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    generator, _ = build_networks(tiny_config(conditional=False), 0)
    with pytest.raises(SaganError, match=r"too many for one file.*FILE\.zip"):
        write_samples(generator.eval(), tmp_path / "a.png", 10**6, None, (), 0, 1.0)
