"""Color profiles: an image file's own colors -> sRGB, as every viewer shows them."""

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# Profiles that move no color further than this, of 255, are sRGB in one of its many versions:
# their images keep every pixel.
_SAME = 3
_STEPS = 9
# The mode in which an image's colors are converted; others have colors of their own.
_PLAIN_MODES = {
    "RGB": "RGB", "RGBA": "RGB", "RGBX": "RGB", "P": "RGB", "L": "L", "LA": "L", "CMYK": "CMYK",
}  # fmt: skip


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image with a color profile to sRGB, with the relative colorimetric intent.

    Images without a profile that fits their mode stay as they are.

    Args:
        image: one with a profile in `info["icc_profile"]`.

    Raises:
        ValueError: Pillow cannot convert it.
    """
    plain_mode = _PLAIN_MODES.get(image.mode)
    if not plain_mode:
        return image
    transform = _transform(image.info["icc_profile"], plain_mode)
    if not transform:
        return image
    if "transparency" in image.info:  # a color or an entry of the palette, found before it changes
        image = image.convert("LA" if plain_mode == "L" else "RGBA")
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    converted = ImageCms.applyTransform(image.convert(plain_mode), transform)
    if not converted:
        return image
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """Return the conversion from a profile to sRGB; None if it changes nothing or is unusable."""
    try:
        transform = ImageCms.buildTransform(
            io.BytesIO(profile), _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
        if mode == "CMYK":
            return transform
        colors = _grid(mode)
        converted = ImageCms.applyTransform(colors, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # damaged, or for another kind of pixels: viewers ignore it, too
    if not converted:
        return None
    moved = np.abs(np.asarray(converted).astype(int) - np.asarray(colors.convert("RGB")))
    return transform if moved.max() > _SAME else None


def _grid(mode: str) -> Image.Image:
    """Return an image with colors from all over the cube, or all shades of gray."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    shades = np.linspace(0, 255, _STEPS).astype(np.uint8)
    cube = np.stack(np.meshgrid(shades, shades, shades), -1).reshape(1, -1, 3)
    return Image.fromarray(cube)


@lru_cache(maxsize=1)
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")
