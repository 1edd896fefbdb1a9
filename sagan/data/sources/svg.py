"""SVG -> pixels, the same whatever the machine, its fonts and its graphics libraries."""

import resvg_py

from sagan.errors import UnreadableError
from sagan.images.decode import Fit, decode
from sagan.types import UInt8Array


def draw(svg: str, size: int, fit: Fit) -> UInt8Array:
    """Draw a square SVG on white with resvg -> uint8 (size, size, 3), RGB in 0..255.

    Args:
        svg: the drawing's source.
        size: the side in pixels.
        fit: of no effect, since the drawing is square.

    Raises:
        UnreadableError: resvg cannot draw it.
    """
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=svg,
            width=size,
            height=size,
            background="#ffffff",
            # Text would be drawn with whatever fonts the machine has.
            skip_system_fonts=True,
        )
    except ValueError as error:
        raise UnreadableError(str(error)) from None
    return decode(bytes(png), size, fit)
