"""SVG -> pixels, the same whatever the machine, its fonts and its graphics libraries."""

import resvg_py

from sagan.errors import UnreadableError
from sagan.images.decode import Fit, decode
from sagan.images.shape import Colors, ImageShape, Resolution
from sagan.types import UInt8Array


def draw(svg: str, size: Resolution, fit: Fit, colors: Colors = "rgb") -> UInt8Array:
    """Draw a square SVG with resvg -> uint8 (H, W, C), such as (size, size, 3), in 0..255.

    Args:
        svg: the drawing's source.
        size: as for `decode`.
        fit: likewise; of no effect on squares.
        colors: likewise; on white, unless they are "rgba".

    Raises:
        UnreadableError: resvg cannot draw it.
    """
    side = max(ImageShape.of(size)[:2])
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=svg,
            width=side,
            height=side,
            background=None if colors == "rgba" else "#ffffff",
            # Text would be drawn with whatever fonts the machine has.
            skip_system_fonts=True,
        )
    except ValueError as error:
        raise UnreadableError(str(error)) from None
    return decode(bytes(png), size, fit, colors=colors)
