"""A contact sheet: some images of each class in one PNG."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from sagan.data.info import SHEET_COLUMNS, SHEET_ROWS, THUMBNAIL_SIZE
from sagan.errors import SaganError
from sagan.images.credits import credit_options
from sagan.images.decode import pixels_of
from sagan.images.lettering import LINE_HEIGHT, draw_lines, fitted
from sagan.storage.files import write_image
from sagan.types import UInt8Array

_GAP = 2
# A contact sheet of a thousand classes would be too long for anyone to look at.
MAX_CLASSES_SHOWN = 40


def check_contact_sheet(path: Path) -> None:
    """Check a contact sheet's path, before hours of decoding images for it.

    Raises:
        SaganError: the name does not end in .png, or its folder is not there.
    """
    if path.suffix.lower() != ".png":
        raise SaganError(f"cannot write the contact sheet '{path}': give a name that ends in .png")
    if not path.parent.is_dir():
        raise SaganError(f"cannot write the contact sheet '{path}': its folder does not exist")


def write_contact_sheet(
    thumbnails: Mapping[str, Sequence[UInt8Array]], path: Path, credits: str = ""
) -> None:
    """Write a contact sheet: each class's name over a row of its images.

    Args:
        thumbnails: class name ("" without labels) -> images, uint8 (S, S, 3), as in
            `DatasetInfo.thumbnails`. At most MAX_CLASSES_SHOWN classes are shown.
        path: the file, ending in .png.
        credits: who made the images; saved in the file.

    Raises:
        SaganError: it cannot be written, has another ending, or there are no images.
    """
    check_contact_sheet(path)
    if not thumbnails:
        raise SaganError(f"cannot write the contact sheet '{path}': no picture can be read")
    step = THUMBNAIL_SIZE + _GAP
    rows = [
        (name if start == 0 else "", images[start : start + SHEET_COLUMNS])
        for name, images in islice(thumbnails.items(), MAX_CLASSES_SHOWN)
        for start in range(0, min(len(images), SHEET_COLUMNS * SHEET_ROWS), SHEET_COLUMNS)
    ]
    heights = [step + (LINE_HEIGHT if name else 0) for name, _ in rows]
    sheet = np.full((sum(heights), SHEET_COLUMNS * step - _GAP, 3), 255, dtype=np.uint8)
    top = 0
    for (name, images), height in zip(rows, heights, strict=True):
        if name:
            draw_lines(sheet, 0, top, [fitted(name, sheet.shape[1])])
        for column, image in enumerate(images):
            left, upper = column * step, top + height - step
            sheet[upper : upper + THUMBNAIL_SIZE, left : left + THUMBNAIL_SIZE] = _scaled(image)
        top += height
    write_image(path, Image.fromarray(sheet), **credit_options(".png", credits))


def _scaled(pixels: UInt8Array) -> UInt8Array:
    if pixels.shape[:2] == (THUMBNAIL_SIZE, THUMBNAIL_SIZE):
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    # Small images keep their hard pixels; large ones are averaged.
    is_small = image.width < THUMBNAIL_SIZE
    method = Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS
    return pixels_of(image.resize((THUMBNAIL_SIZE, THUMBNAIL_SIZE), method))
