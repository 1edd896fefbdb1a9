"""An image file's bytes -> pixels of one shape.

Everything that decides what a pixel will be is here, so that an image gives the same pixels from a
folder, from a zip and from any other source.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import (
    Image,
    ImageOps,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
    features,
)

from sagan.errors import SaganError, UnreadableError
from sagan.images.color import to_srgb
from sagan.images.depth import FULL_BITS, GrayRange, gray_range, may_be_deep, to_8_bits
from sagan.images.heif import HEIF_EXTENSIONS, can_read_heif, is_heif, open_heif
from sagan.images.shape import Colors, ImageShape, Resolution
from sagan.images.signature import signature
from sagan.storage.files import read_file
from sagan.types import UInt8Array

Fit = Literal["crop", "pad", "stretch"]

# Pillow has it since 11.3, and only where it was built with the codec.
_HAS_AVIF = "avif" in features.modules and features.check("avif")
if _HAS_AVIF:
    import_module("PIL.AvifImagePlugin")

# Pillow goes by content, not by name. Without this list a file named x.png could reach any of its
# fifty readers, one of which starts Ghostscript.
IMAGE_FORMATS = (
    "JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM",
    *(("AVIF",) if _HAS_AVIF else ()),
)  # fmt: skip
Image.preinit()  # registers the common formats and their extensions; the imports do the others
# Photos of two lenses (MPO) are JPEG files, and so are those that Chrome has called .pjpeg.
IMAGE_EXTENSIONS = (
    {extension for extension, format_ in Image.EXTENSION.items() if format_ in IMAGE_FORMATS}
    | {".mpo", ".pjpeg", ".pjp", ".jif", ".jfi"}
    | (HEIF_EXTENSIONS if can_read_heif() else frozenset())
)
# Pillow's own limit (it would only warn): a quarter of a gigabyte as 24-bit pixels.
MAX_PIXELS = 89_478_485
MAX_SIZE = 4096
_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
_NOTHING = (255, 255, 255, 0)  # an RGBA pixel that cannot be seen
# Where a JPEG may have its orientation. Without them it need not be searched for, which takes
# a tenth of the time of a small image.
_METADATA = frozenset({"exif", "xmp"})


@dataclass(frozen=True)
class ImageFacts:
    """The facts about one image file that `examine` finds.

    Attributes:
        width: in pixels, after EXIF rotation.
        height: likewise.
        mode: Pillow's, such as "RGB", "L" or "CMYK".
        format: the file format found in the bytes, such as "JPEG" or "PNG".
        gray: the range of its samples, where that is not known to be 0 to 255.
        contrast: the difference of the largest and the smallest value in a channel of its RGB
            pixels, of all channels the greatest; None if it was not measured.
        signature: its `signature`, empty if it was not measured.
        colors: those that it needs: "gray" for a file without color, "rgba" for an image that is
            transparent somewhere.
    """

    width: int
    height: int
    mode: str
    format: str
    gray: GrayRange = field(default_factory=GrayRange)
    contrast: int | None = None
    signature: bytes = field(default=b"", repr=False)
    colors: Colors = "rgb"


def decode(
    data: bytes,
    size: Resolution,
    fit: Fit,
    max_pixels: int = MAX_PIXELS,
    gray_bits: int = FULL_BITS,
    colors: Colors = "rgb",
) -> UInt8Array:
    """Decode an image file: bytes -> uint8 (H, W, C), such as (size, size, 3), in 0..255.

    EXIF orientation is applied, colors are converted to sRGB, animations give their first frame.
    Transparency is laid over white, unless `colors` is "rgba"; gray is luma (ITU-R BT.601). Of
    16-bit samples the high byte is taken; of gray ones that of the `gray_bits` that their set uses
    (see `GrayRange`). Resampling is Pillow's antialiased Lanczos on the full image (JPEG's cheaper
    reduced decoding moves pixels by up to 10 of 255). An image that already has the right size is
    not resampled.

    Raises:
        UnreadableError: the bytes are not an image, are damaged, or have more than `max_pixels`
            pixels, which is at most MAX_PIXELS.
    """
    return fitted(_plain(_load(data, max_pixels), gray_bits), size, fit, colors)


def fitted(image: Image.Image, size: Resolution, fit: Fit, colors: Colors) -> UInt8Array:
    """Return an RGB or RGBA image's pixels in the shape that settings ask for: uint8 (H, W, C).

    What cannot be seen is white, so that no colors are learned that nobody sees.
    """
    shape = ImageShape.of(size, colors)
    pixels = pixels_of(FITS[fit](_COLORS[colors](image), shape))
    if shape.channels == 4:
        pixels = np.where(pixels[..., 3:] > 0, pixels, np.array(_NOTHING, np.uint8))
    return pixels


def range_of(data: bytes) -> GrayRange:
    """Return the range of an image file's samples if it is gray with more than 8 bits.

    Raises:
        UnreadableError: as `decode`.
    """
    if not may_be_deep(data):
        return GrayRange()
    with _without_warnings():
        mode = _open(data, MAX_PIXELS).mode  # by the header: most of these files have 8 bits
    return gray_range(_load(data)) if mode.startswith("I") else GrayRange()


def decode_whole(data: bytes, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode an image file as `decode` does, in its own size: bytes -> uint8 (H, W, 3).

    Raises:
        UnreadableError: as `decode`.
    """
    return pixels_of(_over_white(_plain(_load(data, max_pixels))))


def pixels_of(image: Image.Image) -> UInt8Array:
    """Return an image's pixels, uint8 (height, width, C), faster than `np.asarray` does."""
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, -1)


def examine(data: bytes) -> ImageFacts:
    """Return an image file's facts, decoding it in full: only that shows whether it is whole.

    Raises:
        UnreadableError: as `decode`.
    """
    image = _load(data)
    plain = _plain(image)
    rgb = _over_white(plain)
    return ImageFacts(
        image.width, image.height, image.mode, image.format or "unknown", gray_range(image),
        contrast_of(rgb), signature(rgb), _needed_colors(image.mode, plain),
    )  # fmt: skip


def _needed_colors(mode: str, plain: Image.Image) -> Colors:
    if plain.mode == "RGBA" and plain.getchannel("A").getextrema() != (255, 255):
        return "rgba"
    return "gray" if mode in _GRAY_MODES else "rgb"


def contrast_of(image: Image.Image) -> int:
    """Return the greatest difference of two values within a channel of an RGB image."""
    return int(np.ptp(image.getextrema(), axis=1).max())


def check_shape(size: Resolution, colors: str) -> ImageShape:
    """Return the shape that a size in pixels and the name of colors describe.

    Raises:
        SaganError: they do not describe one, or a side is not in 1..4096.
    """
    try:
        shape = ImageShape.of(size, colors)
    except ValueError as error:
        raise SaganError(f"picture size: {error}") from None
    if max(shape.height, shape.width) > MAX_SIZE:
        raise SaganError(f"picture size {size} is out of range: choose 1 to {MAX_SIZE} pixels")
    return shape


def check_fit(fit: str) -> Fit:
    """Check the name of a fit.

    Raises:
        SaganError: it is not "crop", "pad" or "stretch".
    """
    for known in get_args(Fit):
        if fit == known:
            return known
    raise SaganError(f"unknown fit '{fit}': choose one of {', '.join(FITS)}")


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise UnreadableError("empty file")
    try:
        image = _identify(data)
    except UnidentifiedImageError:
        raise UnreadableError("not a picture in a known format") from None
    except UnreadableError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableError(f"more than {max_pixels:,} pixels") from None
    except Exception as error:  # as in _load
        raise UnreadableError(_one_line(error)) from None
    if image.width * image.height > max_pixels:
        raise UnreadableError(f"more than {max_pixels:,} pixels: {image.width} x {image.height}")
    if 0 in image.size:
        raise UnreadableError("no pixels")
    return image


def _identify(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
    except UnidentifiedImageError:
        if not is_heif(data):
            raise
    return open_heif(data)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence Pillow, which warns of broken metadata in files that it reads without trouble."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    with _without_warnings():
        image = _open(data, max_pixels)
        try:
            image.load()
            _mend_transparency(image, data)
            if not _METADATA.isdisjoint(image.info) or image.format != "JPEG":
                # Otherwise Pillow rewrites the metadata, and fails on any entry of an odd type.
                image.getexif()
                for name in ("exif", "Raw profile type exif"):
                    image.info.pop(name, None)
                ImageOps.exif_transpose(image, in_place=True)
        except Exception as error:
            # Pillow's readers raise whatever their parsing trips over (OSError, SyntaxError,
            # struct.error, zlib.error, IndexError ...). It all means the same: a damaged file.
            raise UnreadableError(_one_line(error)) from None
    return image


def _mend_transparency(image: Image.Image, data: bytes) -> None:
    """Bring the transparent color of a 16-bit PNG to the 8 bits to which Pillow converts it.

    Pillow leaves the color at 16 bits, where it then equals no pixel.
    """
    color = image.info.get("transparency")
    # The header's depth (PNG, section 11.2.1).
    if image.format == "PNG" and isinstance(color, tuple) and data[24] == 16:
        image.info["transparency"] = tuple(sample >> 8 for sample in color)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _plain(image: Image.Image, gray_bits: int = FULL_BITS) -> Image.Image:
    """Return an image as RGB, or as RGBA if it is transparent somewhere."""
    profile = image.info.get("icc_profile")
    if image.mode == "RGB" and "transparency" not in image.info and not profile:
        return image
    try:
        if profile:
            image = to_srgb(image)
        if image.mode.startswith("I"):
            return to_8_bits(image, gray_bits)
        if image.mode == "F":
            raise UnreadableError("floating-point pixels of unknown range")
        if image.has_transparency_data:
            return image.convert("RGBA")
        return image.convert("RGB")
    except ValueError as error:
        raise UnreadableError(_one_line(error)) from None


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


_COLORS: dict[Colors, Callable[[Image.Image], Image.Image]] = {
    "gray": lambda image: _over_white(image).convert("L"),
    "rgb": _over_white,
    "rgba": lambda image: image.convert("RGBA"),
}


def _crop(image: Image.Image, shape: ImageShape) -> Image.Image:
    """Keep the largest centered part with the shape's proportions."""
    width = min(image.width, max(1, round(image.height * shape.width / shape.height)))
    height = min(image.height, max(1, round(image.width * shape.height / shape.width)))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    if (width, height) != image.size:
        image = image.crop((left, top, left + width, top + height))
    return _stretch(image, shape)


def _pad(image: Image.Image, shape: ImageShape) -> Image.Image:
    """Keep everything, centered on white, or on nothing if the image can be transparent."""
    width, height = shape.width, shape.height
    if image.width * height > image.height * width:
        height = max(1, round(image.height * width / image.width))
    else:
        width = max(1, round(image.width * height / image.height))
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    if (width, height) == (shape.width, shape.height):
        return image
    background = _NOTHING if image.mode == "RGBA" else "white"
    canvas = Image.new(image.mode, (shape.width, shape.height), background)
    canvas.paste(image, ((shape.width - width) // 2, (shape.height - height) // 2))
    return canvas


def _stretch(image: Image.Image, shape: ImageShape) -> Image.Image:
    """Keep everything, changing the proportions."""
    size = shape.width, shape.height
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


FITS: dict[Fit, Callable[[Image.Image, ImageShape], Image.Image]] = {
    "crop": _crop,
    "pad": _pad,
    "stretch": _stretch,
}


def read_photo(photo: Path, shape: ImageShape, fit: str) -> UInt8Array:
    """Read an image file as a network takes it: uint8 (H, W, C).

    Args:
        photo: the file.
        shape: of the network's images.
        fit: how to give it their proportions, as was done for training: "crop", "pad" or "stretch".

    Raises:
        SaganError: it cannot be read, or is not an image.
    """
    checked_fit = check_fit(fit)
    try:
        data = read_file(photo)
    except UnreadableError as error:
        raise SaganError(f"cannot read '{photo}': {error}") from None
    try:
        return decode(data, shape.resolution, checked_fit, colors=shape.colors)
    except UnreadableError as error:
        raise SaganError(f"'{photo}' is not a picture that can be read: {error}") from None
