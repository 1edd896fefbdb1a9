"""HEIC files with pillow-heif, and the cure without it."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.data import open_source, pack
from sagan.data.sources import names
from sagan.errors import SaganError, UnreadableError
from sagan.images.decode import IMAGE_EXTENSIONS, decode, examine
from sagan.images.heif import HEIF_EXTENSIONS, can_read_heif

needs_library = pytest.mark.skipif(not can_read_heif(), reason="the extra 'heic' is not installed")
HALVES = np.array([[[200, 30, 60]] * 16 + [[20, 150, 90]] * 16] * 24, dtype=np.uint8)


def heic(image: Image.Image, **options: object) -> bytes:
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, chroma=444, **options)
    return file.getvalue()


def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "IMAGE_EXTENSIONS", IMAGE_EXTENSIONS - HEIF_EXTENSIONS)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


@needs_library
def test_a_photo_of_an_iphone_is_decoded_by_content_whatever_its_name(tmp_path: Path) -> None:
    data = heic(Image.fromarray(HALVES))
    assert examine(data).format == "HEIF"
    for name in ("IMG_1.HEIC", "IMG_2.jpg", "IMG_3.heif"):
        (tmp_path / name).write_bytes(data)
    dataset = pack(open_source(str(tmp_path)), tmp_path / "out", 24, fit="stretch")
    assert len(dataset) == 3
    found = decode(data, 24, "crop").astype(int)
    assert np.abs(found - HALVES[:, 4:28]).max() <= 8
    # Pillow does not learn of the format.
    assert ".heic" not in Image.EXTENSION


@needs_library
def test_a_heic_photo_is_turned_upright_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = examine(heic(Image.fromarray(HALVES), exif=exif.tobytes()))
    assert (facts.width, facts.height) == (24, 32)


@needs_library
def test_transparency_in_heic_is_laid_over_white() -> None:
    data = heic(Image.new("RGBA", (16, 16), (200, 30, 60, 0)))
    assert decode(data, 16, "crop").min() >= 250


@needs_library
def test_a_heic_file_larger_than_allowed_or_than_it_says_is_refused() -> None:
    data = heic(Image.fromarray(HALVES))
    with pytest.raises(UnreadableError, match="more than 500 pixels: 32 x 24"):
        decode(data, 8, "crop", max_pixels=500)
    where = data.index(b"ispe") + 8
    for width, height in ((8, 8), (60_000, 60_000)):
        said = data[:where] + struct.pack(">II", width, height) + data[where + 8 :]
        with pytest.raises(UnreadableError):
            decode(said, 8, "crop")


@needs_library
def test_a_damaged_heic_file_has_a_reason_of_one_line() -> None:
    data = heic(Image.fromarray(HALVES))
    for end in range(8, len(data) - 1, 40):
        with pytest.raises(UnreadableError) as error:
            decode(data[:end], 8, "crop")
        assert str(error.value)
        assert "\n" not in str(error.value)


def test_without_the_library_heic_files_are_counted_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_library(monkeypatch)
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "a" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    source = open_source(str(tmp_path))
    assert source.num_images == 2
    assert "1 .heic files are not read: pip install '.[heic]' in the checkout" in source.notes
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(SaganError, match=r"no pictures in '.*phone': 1 \.heic files .*\[heic\]"):
        open_source(str(tmp_path / "phone"))


def test_without_the_library_heic_called_jpg_is_unreadable_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_library(monkeypatch)
    with pytest.raises(UnreadableError, match=r"HEIC needs .*pip install '\.\[heic\]'"):
        decode(b"\0\0\0\x18ftypheic" + bytes(64), 8, "crop")
