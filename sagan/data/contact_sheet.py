"""A contact sheet: some pictures of each class on one PNG."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sagan.data.info import SHEET_COLUMNS, SHEET_ROWS, THUMBNAIL_SIZE
from sagan.errors import SaganError
from sagan.storage.files import write_image
from sagan.types import UInt8Array

_GAP = 2
_CAPTION = 14
# A sheet of a thousand classes would be a wall of pictures that nobody looks at.
MAX_CLASSES = 40


def check_sheet(path: Path) -> None:
    """Refuse what cannot become a contact sheet, before hours of looking at pictures.

    Raises:
        SaganError: the name does not end in .png, or its folder is not there.
    """
    if path.suffix.lower() != ".png":
        raise SaganError(f"cannot write the contact sheet '{path}': give a name that ends in .png")
    if not path.parent.is_dir():
        raise SaganError(f"cannot write the contact sheet '{path}': there is no such folder")


def write_sheet(thumbnails: Mapping[str, Sequence[UInt8Array]], path: Path) -> None:
    """Write a contact sheet: each class's name over a row of its pictures.

    Args:
        thumbnails: class name ("" without labels) -> pictures, uint8 (S, S, 3), as
            `DatasetInfo.thumbnails` has them. At most MAX_CLASSES classes are shown.
        path: the file, ending in .png.

    Raises:
        SaganError: it cannot be written, has another ending, or there are no pictures.
    """
    check_sheet(path)
    if not thumbnails:
        raise SaganError(f"cannot write the contact sheet '{path}': no picture can be read")
    step = THUMBNAIL_SIZE + _GAP
    rows = [
        (name if start == 0 else "", pictures[start : start + SHEET_COLUMNS])
        for name, pictures in islice(thumbnails.items(), MAX_CLASSES)
        for start in range(0, min(len(pictures), SHEET_COLUMNS * SHEET_ROWS), SHEET_COLUMNS)
    ]
    heights = [step + (_CAPTION if name else 0) for name, _ in rows]
    sheet = Image.new("RGB", (SHEET_COLUMNS * step - _GAP, sum(heights)), "white")
    top = 0
    for (name, pictures), height in zip(rows, heights, strict=True):
        if name:
            ImageDraw.Draw(sheet).text((0, top), _drawable(name), "black", _font())
        for column, picture in enumerate(pictures):
            sheet.paste(_scaled(picture), (column * step, top + height - step))
        top += height
    write_image(path, sheet)


def _scaled(picture: UInt8Array) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))
    if image.width == THUMBNAIL_SIZE:
        return image
    # Enlarged pixels stay pixels; what is larger is averaged.
    small = image.width < THUMBNAIL_SIZE
    how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return image.resize((THUMBNAIL_SIZE, THUMBNAIL_SIZE), how)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default()


def _drawable(name: str) -> str:
    # Pillow's own font has Latin letters, with FreeType or without.
    return name.encode("latin-1", "replace").decode("latin-1")
