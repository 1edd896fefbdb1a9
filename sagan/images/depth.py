"""Gray of more than 8 bits -> 8 bits, by the range that a whole set of images uses.

Scanners and microscopes save 12-bit samples in 16-bit files. One image does not show which bits it
uses, and images that were scaled one by one would lose their brightness beside each other, so the
range is decided once for a set.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, TiffImagePlugin

from sagan.errors import UnreadableError

FULL_BITS = 16
# Depths of scanners and sensors that are saved in files of 16 bits.
_USUAL_BITS = (8, 10, 12, 14)
# Resampling overshoots a little: 4,100 in a set of 12 bits, of which 4,095 is the largest sample.
_OVERSHOOT = 65 / 64
# Fewer images than this do not show what a set uses.
_ENOUGH_IMAGES = 4
# Samples of this many bits, read as 16, cover a sixteenth of the range.
_DARK_BITS = 12

# TIFF's tags (TIFF 6.0, section 8).
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MIN_IS_WHITE = 258, 262, 0


@dataclass(frozen=True)
class GrayRange:
    """The range of a set's gray images of 16 bits or more.

    Attributes:
        num: how many such images there are.
        largest: the largest sample in them.
    """

    num: int = 0
    largest: int = 0

    def __add__(self, other: "GrayRange") -> "GrayRange":
        return GrayRange(self.num + other.num, max(self.largest, other.largest))

    @property
    def bits(self) -> int:
        """The number of bits that the images use: 8, 10, 12 or 14 if all have no more, or 16."""
        return self._fitting if self.num >= _ENOUGH_IMAGES else FULL_BITS

    @property
    def note(self) -> str:
        """What was decided, for the user; empty if the images use all their bits."""
        if not self.num or self._fitting == FULL_BITS:
            return ""
        found = f"the 16-bit gray pictures ({self.num:,}) have no sample above {self.largest:,}"
        if self.bits == FULL_BITS and self._fitting > _DARK_BITS:
            return ""
        if self.bits == FULL_BITS:
            return f"{found}: too few to tell if they have {self._fitting} bits, so they stay dark"
        return f"{found}: all of them are read as {self.bits}-bit"

    @property
    def _fitting(self) -> int:
        fitting = (bits for bits in _USUAL_BITS if self.largest < 2**bits * _OVERSHOOT)
        return next(fitting, FULL_BITS)


def may_be_deep(data: bytes) -> bool:
    """Whether a file may be gray of 16 bits, by its first bytes; takes no time."""
    if data[:4] == b"\x89PNG":
        return data[24:26] == b"\x10\0"  # the header's depth and color type (PNG, section 11.2.1)
    return data[:2] in (b"II", b"MM", b"P5", b"P2")


def gray_range(image: Image.Image) -> GrayRange:
    """Return the range of one decoded image, empty if it has 8 bits or says how many it has."""
    if not image.mode.startswith("I") or _stated_bits(image):
        return GrayRange()
    return GrayRange(1, int(np.asarray(image).max()))


def to_8_bits(image: Image.Image, bits: int = FULL_BITS) -> Image.Image:
    """Return gray of more than 8 bits as RGB, by the highest 8 of the bits that it uses.

    Pillow's own `convert` clips to white instead. Samples beyond the range become white.

    Args:
        image: one with a mode that starts with "I".
        bits: how many bits its set uses, 8 to 16. A TIFF file that states its own is read by these.

    Raises:
        UnreadableError: samples are negative or need more than 16 bits, so that their range is
            unknown.
    """
    samples = np.asarray(image).astype(np.int64)
    least, most = int(samples.min()), int(samples.max())
    if least < 0 or most > 0xFFFF:
        raise UnreadableError(
            f"samples from {least} to {most}, of unknown range: save it with 8 or 16 bits"
        )
    bits = _stated_bits(image) or bits
    transparent = image.info.get("transparency")
    hidden = samples == transparent if isinstance(transparent, int) else None
    if (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.tag_v2.get(_PHOTOMETRIC) == _MIN_IS_WHITE
    ):
        samples = (1 << bits) - 1 - samples
    shades = (samples >> (bits - 8)).clip(0, 255).astype(np.uint8)
    if hidden is not None:
        shades[hidden] = 255
    return Image.fromarray(shades).convert("RGB")


def _stated_bits(image: Image.Image) -> int | None:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    (stated, *_) = image.tag_v2.get(_BITS_PER_SAMPLE, (FULL_BITS,))
    return stated if 8 < stated < FULL_BITS else None
