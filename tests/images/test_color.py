"""Color profiles, with profiles put together by hand (ICC.1:2010, sections 7 to 10)."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from sagan.images.decode import decode

# Primaries and white adapted to D50, as in the published profiles.
DISPLAY_P3 = (
    (0.51512, 0.24120, -0.00105),
    (0.29198, 0.69225, 0.04189),
    (0.15710, 0.06657, 0.78407),
)
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def profile(primaries: object, curve: tuple[float, ...], space: bytes = b"RGB ") -> bytes:
    """A profile of a monitor; without primaries, one for gray."""
    kind = {1: 0, 5: 3}[len(curve)]
    curve_tag = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + b"".join(map(fixed, curve))
    white = b"XYZ " + bytes(4) + b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    tags = {b"wtpt": white}
    if primaries is None:
        tags[b"kTRC"] = curve_tag
    else:
        for name, xyz in zip(b"rgb", primaries, strict=True):
            tags[bytes([name]) + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(fixed, xyz))
            tags[bytes([name]) + b"TRC"] = curve_tag
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4xI", start + len(body), 0x04000000) + b"mntr" + space + b"XYZ "
    header += bytes(12) + b"acsp" + bytes(28) + b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    return header.ljust(128, b"\0") + table + body


def decoded(image: Image.Image, icc: bytes, format_: str = "PNG", **options: object) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, format_, icc_profile=icc, **options)
    return decode(file.getvalue(), 4, "crop").astype(int)


@pytest.mark.parametrize(
    ("primaries", "curve", "expected"),
    [(DISPLAY_P3, SRGB_CURVE, (0, 164, 81)), (ADOBE_RGB, (563 / 256,), (0, 160, 89))],
)
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_wide_gamuts_become_the_colors_that_viewers_show(
    primaries: object, curve: tuple[float, ...], expected: tuple[int, ...], format_: str
) -> None:
    image = Image.new("RGB", (4, 4), (60, 160, 90))
    found = decoded(image, profile(primaries, curve), format_)
    assert np.abs(found - expected).max() <= 4


def test_alpha_and_palettes_are_converted_and_laid_over_white() -> None:
    icc = profile(DISPLAY_P3, SRGB_CURVE)
    image = Image.new("RGBA", (4, 4), (60, 160, 90, 255))
    image.paste((60, 160, 90, 0), (0, 0, 4, 2))
    found = decoded(image, icc)
    assert (found[:2] == 255).all()
    assert np.abs(found[2:] - (0, 164, 81)).max() <= 2
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([1, 2, 3, 60, 160, 90])
    palette.paste(0, (0, 0, 4, 2))
    found = decoded(palette, icc, transparency=0)
    assert (found[:2] == 255).all()
    assert np.abs(found[2:] - (0, 164, 81)).max() <= 2


def test_gray_with_another_gamma_becomes_srgb_gray() -> None:
    found = decoded(Image.new("L", (4, 4), 128), profile(None, (1.0,), b"GRAY"))
    assert np.abs(found - 188).max() <= 2


def test_srgb_profiles_keep_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (decoded(Image.fromarray(pixels), icc) == pixels).all()


@pytest.mark.parametrize("icc", [b"x", b"x" * 500, profile(None, (2.2,), b"GRAY")])
def test_a_damaged_profile_or_one_for_other_pixels_is_ignored(icc: bytes) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    assert (decoded(Image.fromarray(pixels), icc) == pixels).all()
