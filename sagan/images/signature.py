"""A few bytes on how an image looks, by which near-copies are found."""

import numpy as np
from PIL import Image

SIGNATURE_SIDE = 16
# Gray of 16 x 16 pixels, and the mean color.
SIGNATURE_BYTES = SIGNATURE_SIDE**2 + 3


def signature(image: Image.Image) -> bytes:
    """Return the signature of an RGB image, as `data.near_copies` takes it."""
    side = (SIGNATURE_SIDE, SIGNATURE_SIDE)
    small = image.resize(side, Image.Resampling.BOX)
    mean = np.asarray(small).mean(axis=(0, 1)).round().astype(np.uint8)
    return small.convert("L").tobytes() + mean.tobytes()
