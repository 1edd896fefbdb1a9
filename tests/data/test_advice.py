"""The advice of `sagan data info` on a set as training data, and its contact sheet."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.config import resolve
from sagan.data import DatasetInfo, Spread, advice, describe, open_source, pack
from sagan.data.contact_sheet import MAX_CLASSES_SHOWN, write_contact_sheet
from sagan.data.info import SHEET_COLUMNS, THUMBNAIL_SIZE
from sagan.errors import SaganError
from sagan.model import open_model, shipped_models
from sagan.presets import PRESETS
from sagan.runtime.machine import Machine
from sagan.summary import dataset_lines


def info(num: int = 50_000, side: int = 64, smallest: int = 64, **more: object) -> DatasetInfo:
    sides = Spread(smallest, side, side)
    fields = {
        "source": "x", "split": "train", "splits": (), "num_images": num, "classes": (),
        "counts": {}, "widths": sides, "heights": sides, "short_sides": sides, "modes": {},
        "formats": {}, "unreadable": {}, "num_copies": 0, "copies": (), "thumbnails": {},
        "notes": (),
    }  # fmt: skip
    return DatasetInfo(**(fields | more))


FAST, SLOW = Machine(2, has_bfloat16=True, has_gpu=False), Machine(2, False, False)
GPU = Machine(8, has_bfloat16=False, has_gpu=True)


def test_every_suggested_preset_exists_and_has_the_resolution() -> None:
    for resolution, names in advice.SUGGESTED_PRESETS.items():
        assert set(names) <= PRESETS.keys()
        assert names[1].endswith(f"-{resolution}")


@pytest.mark.parametrize(
    ("side", "preset"), [(10, "cpu-32"), (63, "cpu-32"), (64, "cpu-64"), (300, "cpu-64")]
)
def test_the_preset_has_no_more_pixels_than_half_of_the_images(side: int, preset: str) -> None:
    assert f"--preset {preset} " in advice.suggestion(info(side=side), FAST)


@pytest.mark.parametrize(
    ("machine", "num", "side", "preset"),
    [
        (FAST, 50_000, 64, "cpu-64"),
        (SLOW, 50_000, 64, "cpu-64"),
        (Machine(16, False, False), 50_000, 64, "cpu-64"),
        (GPU, 50_000, 128, "sagan-128"),
        (GPU, 50_000, 32, "sagan-32"),
    ],
)
def test_the_preset_depends_on_the_machine_and_on_the_number_of_images(
    machine: Machine, num: int, side: int, preset: str
) -> None:
    suggested = advice.suggestion(info(num=num, side=side), machine)
    assert f"--preset {preset} " in suggested
    assert ("an hour or two on 2 cores without bfloat16" in suggested) is (machine is SLOW)
    assert ("--minutes 20" in suggested) is (machine is not GPU)


@pytest.mark.parametrize(
    ("mode", "opacity", "colors"),
    [
        ("L", None, "gray"),
        ("LA", 255, "gray"),
        ("RGBA", 255, ""),
        ("RGBA", 99, "rgba"),
        ("P", None, ""),
    ],
)
def test_colors_are_suggested_where_all_images_are_gray_or_most_are_transparent(
    mode: str, opacity: int | None, colors: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        noise = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).convert(mode)
        if opacity is not None:
            picture.putalpha(opacity)
        picture.save(tmp_path / f"{i}.png")
    found = describe(str(tmp_path))
    suggested = advice.color_suggestion(found)
    assert suggested.partition(" (")[0] == (f"--set colors={colors}" if colors else "")
    assert any("colors=" in line for line in dataset_lines(found)) == bool(colors)
    packed = pack(open_source(str(tmp_path)), tmp_path / "packed", 32, colors=colors or "rgb")
    assert advice.color_suggestion(describe(str(packed.path))) == ""


@pytest.mark.parametrize(
    ("width", "height", "machine", "resolution"),
    [
        (48, 48, FAST, "48"),
        (96, 96, FAST, "96"),
        (96, 64, FAST, "96x64"),
        (480, 640, FAST, "48x64"),
        (1920, 1080, FAST, "80x48"),
        (3000, 2000, GPU, "384x256"),
        (32, 32, FAST, None),
        (100, 100, FAST, None),  # no network draws this size
        (600, 600, FAST, None),  # smaller is what one computer can do
        (600, 560, FAST, None),  # nearly square
        (40, 30, FAST, None),
        (640, 64, FAST, None),
        (178, 218, FAST, None),  # the nearest would take five times the work
    ],
)
def test_the_size_is_suggested_that_images_of_one_other_size_fit(
    width: int, height: int, machine: Machine, resolution: str | None
) -> None:
    sides = {
        name: Spread(side, side, side) for name, side in (("widths", width), ("heights", height))
    }
    side = min(width, height)
    found = info(side=side, smallest=side, **sides)
    suggested = advice.size_suggestion(found, machine)
    assert suggested.partition(" (")[0] == (f"--set resolution={resolution}" if resolution else "")
    if resolution:
        preset = advice.suggested_preset(found, machine)
        resolve(preset, {"resolution": resolution})  # the two together are possible
        assert any(f"resolution={resolution} " in line for line in dataset_lines(found)) is (
            machine is not GPU
        )


def test_no_size_is_suggested_for_images_of_several_sizes_or_a_packed_set() -> None:
    assert advice.size_suggestion(info(side=96, smallest=64), FAST) == ""
    wide = {"widths": Spread(96, 96, 96)}
    assert advice.size_suggestion(info(**wide), FAST)
    assert advice.size_suggestion(info(**wide, formats={"packed": 9}), FAST) == ""


@pytest.mark.parametrize("machine", [FAST, SLOW, GPU])
@pytest.mark.parametrize("side", [32, 64, 256])
def test_few_images_start_from_a_shipped_model_of_the_presets_resolution(
    machine: Machine, side: int
) -> None:
    few = advice.suggestion(info(num=800, side=side), machine)
    found = re.search(r"--from (\S+)", few)
    assert found
    assert "--preset" not in few
    assert open_model(found[1]).config.resolution == min(side, 64)
    assert "800 pictures are few" in few
    assert list(advice.DRAWN_BY) == list(shipped_models())
    assert all(f"{name} for {what}" in few for name, what in advice.DRAWN_BY.items())
    assert "--from" not in advice.suggestion(info(num=50_000, side=side), machine)


def test_disk_and_memory_are_those_of_the_packed_set(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 40, 40, 3), dtype=np.uint8)
    for n, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    pack(open_source(str(tmp_path)), tmp_path / "out", 32)
    size = sum(f.stat().st_size for f in (tmp_path / "out").iterdir() if f.suffix == ".npy")
    assert "packed at 32 x 32: 154 kB" in advice.suggestion(describe(str(tmp_path)), FAST)
    assert size == pytest.approx(154e3, rel=0.01)


def test_a_healthy_set_gets_no_warning() -> None:
    assert list(advice.warnings(info())) == []
    counts = {"a": 30_000, "b": 20_000}
    assert list(advice.warnings(info(classes=("a", "b"), counts=counts))) == []


@pytest.mark.parametrize(
    ("sick", "words"),
    [
        (info(num=1_999), "1,999 pictures are few"),
        (info(classes=("a", "b"), counts={"a": 20_000, "b": 150}), "classes are uneven: 'a' has"),
        (info(classes=("a", "b"), counts={"a": 500, "b": 60}), "'b', has only 60 pictures"),
        (info(classes=("a", "b"), counts={"a": 500, "b": 0}), "'b' has 0"),
        (
            info(side=128, smallest=20),
            "have only 20 pixels and would be enlarged to the 64 of cpu-64",
        ),
        (info(side=16, smallest=16), "half of the pictures have fewer than 32 pixels"),
        (info(num=9_000, unreadable=dict.fromkeys(map(str, range(1_001)), "x")), "will stop"),
        (info(num_copies=3_000), "3,000 of 50,000 pictures are copies"),
    ],
)
def test_each_thing_that_spoils_training_gets_a_warning(sick: DatasetInfo, words: str) -> None:
    (warning,) = advice.warnings(sick)
    assert words in warning


def test_images_large_enough_for_the_suggested_preset_are_not_called_small() -> None:
    """They would be small at 256 pixels, but the suggestion is cpu-64."""
    assert list(advice.warnings(info(side=3000, smallest=100))) == []


def test_many_unreadable_files_and_copies_are_counted_not_listed() -> None:
    names = [f"{n}.png" for n in range(500)]
    copies = tuple((name, "first.png") for name in names)
    sick = info(unreadable=dict.fromkeys(names, "empty file"), num_copies=2_000, copies=copies)
    lines = list(dataset_lines(sick))
    assert len(lines) < 60
    assert any(line.split() == ["unreadable", "and", "480", "more"] for line in lines)
    assert any(line.split() == ["duplicate", "and", "1,980", "more"] for line in lines)


def colors(root: Path) -> Path:
    """Twenty red images of one class and two green ones of another."""
    for name, color, num in (("rød", (255, 0, 0), 20), ("grün", (0, 255, 0), 2)):
        (root / "set" / name).mkdir(parents=True)
        for n in range(num):
            Image.new("RGB", (10 + n, 10), color).save(root / "set" / name / f"{n}.png")
    return root / "set"


@pytest.mark.parametrize("packed", [False, True])
def test_a_contact_sheet_has_a_row_of_each_class(tmp_path: Path, packed: bool) -> None:
    source = colors(tmp_path)
    if packed:
        pack(open_source(str(source)), tmp_path / "packed", 8)
        source = tmp_path / "packed"
    found = describe(str(source), thumbnails=True)
    write_contact_sheet(found.thumbnails, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        sheet = np.asarray(image)
    step = THUMBNAIL_SIZE + 2
    assert sheet.shape[1] == SHEET_COLUMNS * step - 2
    red, green = ((sheet == color).all(axis=-1).sum() for color in ((255, 0, 0), (0, 255, 0)))
    # A packed set's images are 8 pixels wide and enlarged; all fill the thumbnail.
    assert red == SHEET_COLUMNS * THUMBNAIL_SIZE**2
    assert green == 2 * THUMBNAIL_SIZE**2


def test_images_as_high_as_a_thumbnail_and_wider_fit_into_a_contact_sheet(tmp_path: Path) -> None:
    thumbnails = {"wide": [np.zeros((THUMBNAIL_SIZE, 96, 3), np.uint8)]}
    write_contact_sheet(thumbnails, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()


def test_a_contact_sheet_is_the_same_every_time(tmp_path: Path) -> None:
    for n in range(300):
        Image.new("RGB", (4, 4), (n % 256, n // 256, 0)).save(tmp_path / f"{n}.png")
    first, second = (describe(str(tmp_path), thumbnails=True).thumbnails[""] for _ in range(2))
    assert len(first) == SHEET_COLUMNS**2
    assert np.array_equal(first, second)


def test_a_contact_sheet_of_very_many_classes_has_a_limited_height(tmp_path: Path) -> None:
    thumbnails = {f"class {n}": [np.zeros((4, 4, 3), np.uint8)] for n in range(500)}
    write_contact_sheet(thumbnails, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.height < MAX_CLASSES_SHOWN * 100


def test_a_contact_sheet_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    thumbnails = {"": [np.zeros((4, 4, 3), np.uint8)]}
    for path in (tmp_path / "sheet.jpg", tmp_path / "nowhere" / "sheet.png"):
        with pytest.raises(SaganError, match="cannot write the contact sheet"):
            write_contact_sheet(thumbnails, path)
    with pytest.raises(SaganError, match="no picture can be read"):
        write_contact_sheet({}, tmp_path / "sheet.png")


def test_thumbnails_are_made_only_on_request(tmp_path: Path) -> None:
    assert describe(str(colors(tmp_path))).thumbnails == {}


def test_a_set_with_a_single_class_can_be_described() -> None:
    (warning,) = advice.warnings(info(classes=("a",), counts={"a": 50}, num=50_000))
    assert "the smallest class, 'a', has only 50" in warning
