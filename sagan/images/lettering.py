"""Text as pixels, for grids of images: black on white, in a font that every machine has."""

import functools
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sagan.errors import printable
from sagan.types import UInt8Array

FONT_SIZE = 13  # pixels
LINE_HEIGHT = 17  # pixels, from one line of text to the next
MAX_NAME = 80  # characters that are looked at; none of the rest would fit

_WORDS = re.compile(r"[^\s_-]+[_-]*|[_-]+")  # class names join words in many ways


def text_width(text: str) -> int:
    """Return the width of a line of text in pixels, rounded up."""
    return int(_font().getlength(text)) + 1


def fitted(text: str, width: int) -> str:
    """Return text ready to draw in one line: known characters, cut to a width in pixels."""
    shown = _drawable(text)
    if text_width(shown) <= width:
        return shown
    while shown and text_width(shown + "…") > width:
        shown = shown[:-1]
    return shown.rstrip() + "…"


def wrapped(text: str, width: int, most: int) -> list[str]:
    """Return text in at most `most` lines no wider than a width in pixels.

    Lines break between words, also at hyphens and underscores. What does not fit is cut.
    """
    lines: list[str] = []
    for word in _WORDS.findall(_drawable(text)):
        joined = f"{lines[-1]}{'' if lines[-1][-1] in '_-' else ' '}{word}" if lines else word
        if lines and (len(lines) == most or text_width(joined) <= width):
            lines[-1] = joined
        else:
            lines.append(word)
    return [fitted(line, width) for line in lines]


def draw_lines(image: UInt8Array, left: int, top: int, lines: Sequence[str]) -> None:
    """Draw lines of text below each other into an image (H, W, 3), in place, clipped to it."""
    for i, line in enumerate(lines):
        if not line:
            continue
        letters = Image.new("L", (text_width(line), LINE_HEIGHT), 255)
        ImageDraw.Draw(letters).text((0, 0), line, 0, _font())
        start = top + i * LINE_HEIGHT
        place = image[start : start + LINE_HEIGHT, left : left + letters.width]
        place[:] = np.asarray(letters)[: place.shape[0], : place.shape[1], None]


def _drawable(text: str) -> str:
    """One line of known characters; others would be drawn as boxes of their own, or reversed."""
    return "".join(
        c if c == "\N{REPLACEMENT CHARACTER}" or _is_known(c) else "\N{REPLACEMENT CHARACTER}"
        for c in printable(text[:MAX_NAME])
    )


@functools.cache
def _is_known(character: str) -> bool:
    # The font draws the same box for everything that it does not have.
    return character == " " or _shape(character) != _shape("\U0010ffff")


def _shape(character: str) -> tuple[tuple[int, int], bytes]:
    mask = _font().getmask(character)
    return mask.size, bytes(mask)


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: found without the time that its import takes."""
    spec = find_spec("matplotlib")
    if not spec or not spec.origin:
        raise ModuleNotFoundError("matplotlib is not installed")
    path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    # The basic layout is part of Pillow, so that text is the same on every machine.
    return ImageFont.truetype(str(path), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
