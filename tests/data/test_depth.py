"""The range of 16-bit gray is decided once for a set, and in the same way on every machine."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.data import describe, open_source, pack, workers
from sagan.images import depth
from sagan.images.decode import decode, range_of
from sagan.images.depth import GrayRange

RAMP = np.tile(np.linspace(0, 1, 8), (8, 1))


def deep_set(folder: Path, brightest: list[int]) -> Path:
    """A set of gray 16-bit ramps, each from 0 to its own brightest sample."""
    folder.mkdir(parents=True)
    for number, top in enumerate(brightest):
        Image.fromarray(np.round(RAMP * top).astype(np.uint16)).save(folder / f"{number:04}.png")
    return folder


def packed(root: Path, out: Path) -> tuple[np.ndarray, list[str]]:
    images = np.array(pack(open_source(str(root)), out, 8).images)
    return images[..., 0], json.loads((out / "pack.json").read_text())["notes"]


def test_twelve_bit_samples_in_16_bit_files_keep_contrast_and_brightness_beside_each_other(
    tmp_path: Path,
) -> None:
    root = deep_set(tmp_path / "set", [4095, 1000, 4095, 600, 2048])
    images, notes = packed(root, tmp_path / "out")
    assert [int(image.max()) for image in images] == [255, 62, 255, 37, 128]
    note = "the 16-bit gray pictures (5) have no sample above 4,095: all of them are read as 12-bit"
    assert notes == [note]
    assert note in describe(str(root)).notes


@pytest.mark.parametrize(
    ("largest", "bits"),
    [(255, 8), (258, 8), (1023, 10), (4095, 12), (4100, 12), (5000, 14), (16_383, 14),
     (20_000, 16), (65_535, 16)],
)  # fmt: skip
def test_the_range_is_the_smallest_usual_depth_that_has_all_samples(
    tmp_path: Path, largest: int, bits: int
) -> None:
    root = deep_set(tmp_path / "set", [largest] * 4)
    images, notes = packed(root, tmp_path / "out")
    assert images.max() == min(255, largest >> (bits - 8))
    assert bool(notes) == (bits < 16)


def test_one_image_that_uses_all_bits_decides_for_its_set(tmp_path: Path) -> None:
    root = deep_set(tmp_path / "set", [4095] * 5 + [65_535])
    images, notes = packed(root, tmp_path / "out")
    assert [int(image.max()) for image in images] == [15] * 5 + [255]
    assert not any("bit" in note for note in notes[:-1])


def test_a_few_images_do_not_show_their_range_and_the_note_says_so(tmp_path: Path) -> None:
    images, notes = packed(deep_set(tmp_path / "set", [4000] * 3), tmp_path / "out")
    assert images.max() == 15
    assert "too few to tell if they have 12 bits" in notes[0]
    assert GrayRange(1, 0x4000).note == ""


def test_the_pixels_do_not_depend_on_the_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = deep_set(tmp_path / "set", [1000 + n * 7 for n in range(40)])
    monkeypatch.setattr(workers, "MAX_LOCAL_IMAGES", 1)
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(workers, "available_cores", lambda cores=cores: cores)
        found.append(packed(root, tmp_path / f"out{cores}"))
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_images_of_8_bits_beside_deep_ones_keep_every_pixel(tmp_path: Path) -> None:
    root = deep_set(tmp_path / "set", [4095] * 4)
    Image.fromarray(np.round(RAMP * 100).astype(np.uint8)).save(root / "z.png")
    assert packed(root, tmp_path / "out")[0][4].max() == 100


def tiff(samples: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "TIFF", **options)
    return file.getvalue()


def test_files_that_cannot_be_deep_or_say_their_bits_have_no_range() -> None:
    samples = np.full((4, 4), 3000, np.uint16)
    assert range_of(tiff(samples)) == GrayRange(1, 3000)
    assert range_of(tiff(samples.astype(np.uint8))) == GrayRange()
    assert range_of(b"P5 2 2 255\n\0\1\2\3") == GrayRange()
    # Pillow brings a PGM's stated range to 16 bits.
    assert range_of(b"P5 1 1 4095\n\x0f\xff") == GrayRange(1, 65_535)
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(7))), (b"IEND", b"")]
    color = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks
    )
    assert not depth.may_be_deep(color)
    assert decode(color, 1, "crop").max() == 0


def test_samples_in_which_zero_is_white_are_turned_within_the_range_of_their_set() -> None:
    data = tiff(np.array([[0, 4095]], np.uint16), tiffinfo={262: 0})
    assert decode(data, 2, "stretch", gray_bits=12)[0, :, 0].tolist() == [255, 0]
