"""Gray and transparent images as RGB, for files, figures and networks that take three channels."""

import numpy as np
from PIL import Image

from sagan.types import UInt8Array

BACKGROUND = "white"  # what transparent images are laid over, wherever RGB is needed


def as_rgb(images: UInt8Array) -> UInt8Array:
    """Return images as RGB: gray is repeated, transparent images are laid over white.

    Args:
        images: uint8 (..., H, W, C) with C = 1, 3 or 4.

    Returns:
        uint8 (..., H, W, 3); `images` itself if they are RGB.
    """
    channels = images.shape[-1]
    if channels == 1:
        return np.repeat(images, 3, axis=-1)
    if channels == 3:
        return images
    opacity = images[..., 3:].astype(np.uint16)
    colors = images[..., :3].astype(np.uint16)
    over_white = (colors * opacity + 255 * (255 - opacity) + 127) // 255
    return over_white.astype(np.uint8)


def to_pillow(image: UInt8Array) -> Image.Image:
    """Return an image (H, W, C) as Pillow's, in its own channels."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
