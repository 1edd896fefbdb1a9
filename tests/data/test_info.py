"""`sagan data info` counts everything, and unreadable images are not an error."""

import zipfile
from pathlib import Path

import pytest
from PIL import Image

from sagan.data import Spread, describe, open_source, pack
from sagan.data.advice import warnings
from sagan.errors import SaganError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name, sides in {"cat": (10, 20, 60), "dog": (30,)}.items():
        (root / "train" / name).mkdir(parents=True)
        for side in sides:
            image = Image.new("L" if side == 10 else "RGB", (side, 2 * side))
            image.save(root / "train" / name / f"{side}.{'png' if side < 60 else 'jpg'}")
    (root / "train" / "dog" / "bad.png").write_text("a text")
    (root / "test").mkdir()
    Image.new("RGB", (5, 5)).save(root / "test" / "1.png")
    return root


def test_a_folder_is_counted_by_class_size_mode_and_format(root: Path) -> None:
    info = describe(str(root))
    assert (info.num_images, info.labeled) == (4, True)
    assert info.counts == {"cat": 3, "dog": 1}
    assert info.widths == Spread(10, 25, 60)
    assert info.heights == Spread(20, 50, 120)
    assert info.modes == {"RGB": 3, "L": 1}
    assert info.formats == {"PNG": 3, "JPEG": 1}
    assert info.unreadable == {"train/dog/bad.png": "not a picture in a known format"}
    assert info.splits == ("test", "train")


def test_an_unlabeled_split_has_no_counts(root: Path) -> None:
    info = describe(str(root), split="test")
    assert (info.num_images, info.labeled, info.counts) == (1, False, {})


def test_a_packed_set_names_the_source_that_it_was_packed_from(root: Path, tmp_path: Path) -> None:
    (root / "train" / "dog" / "bad.png").unlink()
    pack(open_source(str(root)), tmp_path / "out", 8, fit="pad")
    info = describe(str(tmp_path / "out"))
    assert (info.num_images, info.counts, info.widths) == (4, {"cat": 3, "dog": 1}, Spread(8, 8, 8))
    assert str(root) in info.notes[0]


def test_a_packed_set_is_described_as_what_it_is_and_has_no_other_split(
    root: Path, tmp_path: Path
) -> None:
    for n in range(3):
        (root / "test" / f"bad{n}.png").write_bytes(b"")
    out = str(tmp_path / "out")
    pack(open_source(str(root), "test"), Path(out), 8, max_unreadable=1)
    for split in (None, "test"):
        info = describe(out, split=split)
        assert (info.split, info.num_images, info.num_unreadable) == ("test", 1, 3)
    with pytest.raises(SaganError, match="contains the split 'test', not 'train': choose it with"):
        describe(out, split="train")
    told = [line for line in warnings(info) if "cannot be read" in line]
    assert told == ["3 of 4 files cannot be read: they were left out"]


def test_unreadable_images_are_listed_but_a_source_without_images_is_an_error(
    tmp_path: Path,
) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"")
    info = describe(str(tmp_path / "x.zip"))
    assert (info.num_images, info.widths, info.unreadable) == (0, None, {"a.png": "empty file"})
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("a.txt", b"")
    with pytest.raises(SaganError, match="no pictures"):
        describe(str(tmp_path / "y.zip"))
