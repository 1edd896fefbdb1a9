"""Undamaged but unusual files, in a folder and in a zip, give the right pixels."""

import errno
import io
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.data import PackedDataset, open_source, pack

SIDE = 8
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def noise(height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png(width: int, height: int, depth: int, color: int, interlaced: int, rows: bytes) -> bytes:
    """A PNG file put together by hand: Pillow writes neither 16-bit color nor interlaced ones."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header += bytes([depth, color, 0, 0, interlaced])
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def sixteen_bit_png() -> bytes:
    """The noise as high bytes, and other noise below it."""
    samples = noise().astype(np.uint16) << 8 | noise()[::-1]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(SIDE, SIDE, 16, 2, 0, rows)


def interlaced_png() -> bytes:
    """The noise in the seven passes of Adam7 (the PNG specification, section 8.2)."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1)]  # fmt: skip
    rows = b""
    for top, left, down, right in passes:
        for row in noise()[top::down, left::right]:
            rows += b"\0" + row.tobytes()
    return png(SIDE, SIDE, 8, 2, 1, rows)


def transparent_palette() -> bytes:
    image = Image.new("P", (SIDE, SIDE))
    image.putpalette([0, 0, 0, *RED])
    image.paste(1, (0, 0, SIDE, SIDE // 2))
    return encode(image, "PNG", transparency=0)


def half_red(below: tuple[int, int, int]) -> np.ndarray:
    pixels = np.full((SIDE, SIDE, 3), below, dtype=np.uint8)
    pixels[: SIDE // 2] = RED
    return pixels


def animation(format_: str) -> bytes:
    frames = [Image.new("RGB", (SIDE, SIDE), color) for color in (RED, BLUE)]
    return encode(frames[0], format_, save_all=True, append_images=frames[1:], lossless=True)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(Image.fromarray(noise()), "PNG", exif=exif)


def plain(color: tuple[int, int, int]) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), color, dtype=np.uint8)


def png_of(pixels: np.ndarray) -> bytes:
    return encode(Image.fromarray(pixels), "PNG")


# Name -> the file, the pixels, and by how much they may differ.
ODD: dict[str, tuple[bytes, np.ndarray, int]] = {
    "one-by-one.png": (png_of(plain(BLUE)[:1, :1]), plain(BLUE), 0),
    "one-by-4000.png": (encode(Image.new("RGB", (1, 4000), RED), "PNG"), plain(RED), 0),
    "4000-by-one.png": (encode(Image.new("RGB", (4000, 1), RED), "PNG"), plain(RED), 0),
    # All four inks by half and black by a quarter: 255 * (1 - .5) * (1 - .25) = 96.
    "cmyk.jpg": (
        encode(Image.new("CMYK", (SIDE, SIDE), (128, 128, 128, 64)), "JPEG", quality=100),
        plain((96, 96, 96)), 3,
    ),
    "sixteen-bit.png": (sixteen_bit_png(), noise(), 0),
    "interlaced.png": (interlaced_png(), noise(), 0),
    "palette.png": (transparent_palette(), half_red(WHITE), 0),
    "animated.gif": (animation("GIF"), plain(RED), 0),
    "animated.webp": (animation("WEBP"), plain(RED), 0),
    "orientation-1.png": (turned(1), noise(), 0),
    "orientation-2.png": (turned(2), noise()[:, ::-1], 0),
    "orientation-3.png": (turned(3), noise()[::-1, ::-1], 0),
    "orientation-4.png": (turned(4), noise()[::-1], 0),
    "orientation-5.png": (turned(5), noise().swapaxes(0, 1), 0),
    "orientation-6.png": (turned(6), np.rot90(noise(), -1), 0),
    "orientation-7.png": (turned(7), np.rot90(noise(), 2).swapaxes(0, 1), 0),
    "orientation-8.png": (turned(8), np.rot90(noise(), 1), 0),
    "UPPER.PNG": (png_of(noise()), noise(), 0),
    "Mixed.JpEg": (encode(Image.new("L", (SIDE, SIDE), 77), "JPEG"), plain((77, 77, 77)), 1),
    "archive.tar.gz.png": (png_of(noise()), noise(), 0),
    "photo.jpg.png": (png_of(noise()), noise(), 0),
    "a name  with spaces.png": (png_of(noise()), noise(), 0),
    "smile 😀 ünïcode.png": (png_of(noise()), noise(), 0),
}  # fmt: skip


def in_folder(root: Path) -> Path:
    (root / "folder").mkdir()
    for name, (data, _, _) in ODD.items():
        (root / "folder" / name).write_bytes(data)
    return root / "folder"


def in_zip(root: Path) -> Path:
    with zipfile.ZipFile(root / "odd.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (data, _, _) in ODD.items():
            archive.writestr(name, data)
    return root / "odd.zip"


@pytest.fixture(scope="module", params=[in_folder, in_zip])
def packed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PackedDataset:
    root = tmp_path_factory.mktemp("odd")
    write: Callable[[Path], Path] = request.param
    return pack(open_source(str(write(root))), root / "out", SIDE, max_unreadable=0)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_has_the_pixels_that_were_put_into_it(packed: PackedDataset, name: str) -> None:
    _, expected, tolerance = ODD[name]
    found = packed.images[sorted(ODD).index(name)]
    assert np.abs(found.astype(int) - expected).max() <= tolerance


def test_a_name_that_is_not_utf8_is_packed(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    name = os.fsdecode(b"caf\xe9 \xff.png")
    try:
        (tmp_path / "set" / name).write_bytes(png_of(noise()))
    except OSError as error:
        if error.errno != errno.EILSEQ:
            raise
        pytest.skip("this file system takes UTF-8 names only")
    assert np.array_equal(
        pack(open_source(str(tmp_path / "set")), tmp_path / "out", SIDE).images[0], noise()
    )
