"""An image file's pixels, compared with pixels worked out by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sagan.errors import SaganError, UnreadableError
from sagan.images.decode import (
    IMAGE_EXTENSIONS,
    IMAGE_FORMATS,
    check_fit,
    check_shape,
    decode,
    examine,
)
from sagan.images.heif import HEIF_EXTENSIONS


def encode(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF", "PPM"])
def test_an_image_of_the_right_size_keeps_every_pixel(fit: str, format_: str) -> None:
    pixels = noise(9, 9)
    assert np.array_equal(decode(encode(Image.fromarray(pixels), format_), 9, fit), pixels)


def test_crop_keeps_the_middle_of_a_wide_and_of_a_tall_image() -> None:
    wide, tall = noise(4, 10), noise(10, 4)
    assert np.array_equal(decode(encode(Image.fromarray(wide)), 4, "crop"), wide[:, 3:7])
    assert np.array_equal(decode(encode(Image.fromarray(tall)), 4, "crop"), tall[3:7])


def test_pad_centers_the_image_on_white() -> None:
    pixels = noise(2, 4)
    expected = np.full((4, 4, 3), 255, dtype=np.uint8)
    expected[1:3] = pixels
    assert np.array_equal(decode(encode(Image.fromarray(pixels)), 4, "pad"), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_extreme_proportions_still_give_a_full_square(shape: tuple[int, int], fit: str) -> None:
    image = decode(encode(Image.new("RGB", shape, (10, 20, 30))), 8, fit)
    assert image.shape == (8, 8, 3)
    assert (image == (10, 20, 30)).all(axis=-1).any()


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    image = decode(encode(Image.fromarray(board.astype(np.uint8))), 8, "crop")
    assert np.abs(image[2:-2, 2:-2].astype(int) - 127.5).max() < 3


# Lanczos with three lobes overshoots twice on each side of an edge, unlike bicubic and bilinear.
SHRUNK = [40, 41, 37, 50, 190, 203, 199, 200]
ENLARGED = [40, 40, 40, 41, 45, 30, 23, 74, 166, 217, 210, 195, 199, 200, 200, 200]
NOISE = [
    [[101, 146, 117], [159, 161, 116], [107, 160, 149]],
    [[117, 106, 141], [159, 111, 150], [162, 115, 125]],
    [[97, 141, 99], [114, 105, 134], [153, 98, 158]],
]


def test_resampling_is_antialiased_lanczos_with_these_pixels() -> None:
    """Other pixels, even by 1, would change the fingerprint of every packed set."""
    edge = np.repeat(np.array([40, 200], np.uint8), 12)
    rows = np.tile(edge[None, :, None], (24, 1, 3))
    assert decode(encode(Image.fromarray(rows)), 8, "crop")[3, :, 0].tolist() == SHRUNK
    wide = np.tile(edge[None, 8:16, None], (4, 1, 3))
    assert decode(encode(Image.fromarray(wide)), 16, "stretch")[3, :, 0].tolist() == ENLARGED
    assert decode(encode(Image.fromarray(wide)), 16, "pad")[8, :, 0].tolist() == ENLARGED


def test_resampled_noise_has_these_pixels() -> None:
    pixels = decode(encode(Image.fromarray(noise(9, 9))), 3, "crop")
    assert pixels.tolist() == NOISE


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_turns_the_image_upright(orientation: int, upright: object) -> None:
    pixels = noise(6, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(pixels), exif=exif)
    assert np.array_equal(decode(data, 6, "crop"), upright(pixels))


def test_an_entry_of_an_odd_type_does_not_keep_an_image_from_being_turned() -> None:
    pixels, exif = noise(6, 6), Image.Exif()
    exif[0x0112], exif[0x0128] = 6, 2
    data = bytearray(encode(Image.fromarray(pixels), "TIFF", exif=exif))
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[0x0128] == 2
    entry = data.index(bytes([0x28, 0x01, 3, 0]))  # ResolutionUnit, a short
    data[entry + 2] = 2  # a text
    assert np.array_equal(decode(bytes(data), 6, "crop"), np.rot90(pixels, -1))


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def test_orientation_is_found_wherever_programs_write_it() -> None:
    """ImageMagick writes EXIF into PNG as hexadecimal text, some cameras into XMP alone."""
    pixels = np.repeat(np.repeat(noise(2, 2), 8, axis=0), 8, axis=1)
    image, exif, text = Image.fromarray(pixels), Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    profile = exif.tobytes()
    text.add_text("Raw profile type exif", f"\nexif\n{len(profile)}\n{profile.hex()}\n", zip=True)
    files = {
        "PNG as ImageMagick writes it": encode(image, pnginfo=text),
        "WEBP": encode(image, "WEBP", exif=exif, lossless=True),
        "TIFF": encode(image, "TIFF", exif=exif),
        "JPEG": encode(image, "JPEG", exif=exif, quality=100, subsampling=0),
        "JPEG with XMP": encode(image, "JPEG", xmp=XMP.encode(), quality=100, subsampling=0),
    }
    for name, data in files.items():
        found = decode(data, 16, "crop").astype(int)
        assert np.abs(found - np.rot90(pixels, -1)).max() <= 4 * ("JPEG" in name), name


def test_transparency_is_laid_over_white() -> None:
    image = Image.fromarray(
        np.array([[[200, 100, 0, 0], [200, 100, 0, 255], [0, 0, 0, 51], [9, 9, 9, 255]]], np.uint8)
    )
    row = decode(encode(image.resize((4, 4), Image.Resampling.NEAREST)), 4, "crop")[0]
    assert row.tolist() == [[255, 255, 255], [200, 100, 0], [204, 204, 204], [9, 9, 9]]


def test_a_palette_with_a_transparent_color_is_laid_over_white() -> None:
    image = Image.new("P", (2, 2))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putdata([0, 1, 1, 0])
    pixels = decode(encode(image, transparency=0), 2, "crop")
    assert pixels.reshape(4, 3).tolist() == [[255] * 3, [255, 0, 0], [255, 0, 0], [255] * 3]


def test_sixteen_bit_gray_keeps_its_shades() -> None:
    shades = np.array([[0, 0x00FF, 0x0100], [0x7F7F, 0x80FF, 0xFE00], [0xFEFF, 0xFF00, 0xFFFF]])
    pixels = decode(encode(Image.fromarray(shades.astype(np.uint16))), 3, "crop")
    # The high byte: dividing by 257 would give other pixels for three of these.
    assert pixels[..., 0].ravel().tolist() == [0, 0, 1, 0x7F, 0x80, 0xFE, 0xFE, 0xFF, 0xFF]
    assert (pixels == pixels[..., :1]).all()


def deep_png(samples: np.ndarray, color_type: int, transparent: tuple[int, ...]) -> bytes:
    """A 16-bit PNG with a transparent color, which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        + chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


def test_a_transparent_color_of_16_bits_is_laid_over_white() -> None:
    gray = np.array([[0, 0x4000], [0x4001, 0xFFFF]])
    pixels = decode(deep_png(gray, 0, (0x4000,)), 2, "crop")
    assert pixels[..., 0].ravel().tolist() == [0, 255, 0x40, 255]
    color = np.array([[[0x1000, 0x2000, 0x3000], [0x4000, 0x5000, 0x6000]]] * 2)
    pixels = decode(deep_png(color, 2, (0x4000, 0x5000, 0x6000)), 2, "crop")
    assert pixels[0].tolist() == [[0x10, 0x20, 0x30], [255, 255, 255]]


def test_a_sixteen_bit_tiff_in_which_zero_is_white_is_not_inverted() -> None:
    shades = np.array([[0, 0xFFFF], [0x8000, 0x4000]], np.uint16)
    data = encode(Image.fromarray(shades), "TIFF", tiffinfo={262: 0})
    assert decode(data, 2, "crop")[..., 0].ravel().tolist() == [255, 0, 0x7F, 0xBF]


@pytest.mark.parametrize("samples", [[[0, 70_000]], [[-5, 5]]])
def test_samples_of_unknown_range_are_refused_rather_than_clipped(samples: object) -> None:
    data = encode(Image.fromarray(np.array(samples, np.int32)), "TIFF")
    with pytest.raises(UnreadableError, match="of unknown range"):
        decode(data, 2, "stretch")


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [("L", 77, (77, 77, 77)), ("1", 1, (255, 255, 255)), ("LA", (50, 255), (50, 50, 50))],
)
def test_gray_becomes_three_equal_channels(mode: str, color: object, expected: object) -> None:
    data = encode(Image.new(mode, (3, 3), color))
    assert (decode(data, 3, "crop") == expected).all()


def test_cmyk_cyan_is_read_as_cyan() -> None:
    data = encode(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", quality=100)
    assert np.abs(decode(data, 8, "crop").astype(int) - (0, 255, 255)).max() <= 3


@pytest.mark.parametrize("format_", ["GIF", "WEBP"])
def test_an_animation_gives_its_first_frame(format_: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = encode(frames[0], format_, save_all=True, append_images=frames[1:], lossless=True)
    assert np.abs(decode(data, 8, "crop").astype(int) - (255, 0, 0)).max() <= 2


def test_a_file_is_known_by_its_content_and_only_in_the_listed_formats() -> None:
    with pytest.raises(UnreadableError, match="known format"):
        decode(encode(Image.new("RGB", (4, 4)), "EPS"), 4, "crop")


@pytest.mark.parametrize(
    "damage", [b"", b"no picture", encode(Image.fromarray(noise(64, 64)))[:900]]
)
def test_damaged_bytes_have_a_reason_of_one_line(damage: bytes) -> None:
    for look in (examine, lambda data: decode(data, 8, "crop")):
        with pytest.raises(UnreadableError) as error:
            look(damage)
        assert str(error.value)
        assert "\n" not in str(error.value)
        assert "0x" not in str(error.value)


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_decompression_bomb_is_refused_before_it_is_inflated(side: int) -> None:
    bomb = encode(Image.new("1", (side, side)))
    with pytest.raises(UnreadableError, match="more than"):
        decode(bomb, 8, "crop")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_truncated_image_is_refused_unless_its_pixels_are_those_of_the_whole(
    format_: str,
) -> None:
    data = encode(Image.fromarray(noise(16, 16)), format_)
    whole = decode(data, 8, "crop")
    num_refused = 0
    for end in range(0, len(data), 7):
        try:
            pixels = decode(data[:end], 8, "crop")
        except UnreadableError:
            num_refused += 1
        else:
            assert np.array_equal(pixels, whole), end
    assert num_refused >= len(range(0, len(data) - 30, 7))


def test_every_extension_of_a_format_that_can_be_decoded_is_an_image() -> None:
    Image.init()
    for extension, format_ in Image.EXTENSION.items():
        if extension not in HEIF_EXTENSIONS:
            assert (extension in IMAGE_EXTENSIONS) == (format_ in (*IMAGE_FORMATS, "MPO"))
    assert {".jfif", ".jpe", ".tif", ".webp", ".pgm", ".apng"} <= IMAGE_EXTENSIONS


@pytest.mark.skipif("AVIF" not in IMAGE_FORMATS, reason="this Pillow has no AVIF")
def test_avif_is_decoded_where_pillow_can() -> None:
    assert ".avif" in IMAGE_EXTENSIONS
    data = encode(Image.new("RGB", (8, 8), (200, 100, 50)), "AVIF", quality=100)
    assert np.abs(decode(data, 8, "crop").astype(int) - (200, 100, 50)).max() <= 3


def test_examine_returns_size_after_rotation_mode_and_format() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = examine(encode(Image.new("L", (30, 20)), "JPEG", exif=exif))
    assert (facts.width, facts.height, facts.mode, facts.format) == (20, 30, "L", "JPEG")
    assert (facts.gray.num, facts.contrast) == (0, 0)


def test_the_error_for_a_bad_size_or_fit_lists_the_choices() -> None:
    for size in (0, -3, "8y8", "64x"):
        with pytest.raises(SaganError, match="is not a size in pixels such as 64 or 96x64"):
            check_shape(size, "rgb")
    with pytest.raises(SaganError, match="1 to 4096"):
        check_shape("5000x4", "rgb")
    with pytest.raises(SaganError, match="gray, rgb, rgba"):
        check_shape(8, "cmyk")
    with pytest.raises(SaganError, match="crop, pad, stretch"):
        check_fit("squash")


def test_gray_is_the_luma_of_what_rgb_would_be() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 255, 0))
    pixels = decode(encode(image), 4, "crop", colors="gray")
    assert pixels.shape == (4, 4, 1)
    assert pixels[0, 0, 0] == 255  # transparent, so white
    assert pixels[1, 1, 0] == 76  # 0.299 of 255


def test_rgba_keeps_transparency_and_makes_hidden_colors_white() -> None:
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 128))
    image.putpixel((1, 0), (40, 50, 60, 0))
    pixels = decode(encode(image), 4, "crop", colors="rgba")
    assert pixels[0, :2].tolist() == [[10, 20, 30, 128], [255, 255, 255, 0]]
    opaque = decode(encode(Image.new("L", (4, 4), 7)), 4, "crop", colors="rgba")
    assert (opaque == (7, 7, 7, 255)).all()


def test_resizing_rgba_does_not_mix_in_hidden_colors() -> None:
    """Red on transparent green: halves must not become brown at the edge."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :3] = (255, 0, 0, 255)
    pixels[:, 3:] = (0, 255, 0, 0)
    small = decode(encode(Image.fromarray(pixels)), 4, "crop", colors="rgba")
    seen = small[..., 3] > 0
    assert (small[seen][:, 1] <= 2).all()
    assert 0 < small[0, 1, 3] < 255


def test_padding_is_white_for_gray_and_nothing_for_rgba() -> None:
    data = encode(Image.new("RGB", (8, 4), (0, 0, 0)))
    assert (
        decode(data, 8, "pad", colors="gray")[:, 0, 0].tolist() == [255] * 2 + [0] * 4 + [255] * 2
    )
    rgba = decode(data, 8, "pad", colors="rgba")
    assert rgba[0, 0].tolist() == [255, 255, 255, 0]
    assert rgba[4, 0].tolist() == [0, 0, 0, 255]


def test_an_odd_remainder_is_cut_from_the_right_and_the_bottom() -> None:
    """Otherwise a set packed again would have another fingerprint."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    assert np.array_equal(decode(encode(Image.fromarray(pixels[:, :4])), 4, "crop"), pixels[:4, :4])
    assert np.array_equal(decode(encode(Image.fromarray(pixels[:4])), 4, "crop"), pixels[:4, :4])
