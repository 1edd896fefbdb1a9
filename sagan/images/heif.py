"""HEIC and HEIF, the format of iPhones, by pillow-heif (the extra `heic`).

The library is imported when the first such file is met, and not registered with Pillow: that would
change what `Image.open` does everywhere.
"""

import io

from PIL import Image

from sagan.errors import UnreadableError
from sagan.runtime.extras import HEIC, libraries_installed

HEIF_EXTENSIONS = frozenset({".heic", ".heif", ".heics", ".heifs", ".hif"})
# What follows the length of the first box (ISO 23008-12, section 10). "mif1" and "msf1" are
# also those of AVIF, which is tried before.
_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)


def can_read_heif() -> bool:
    """Whether the library is installed, without importing it."""
    return libraries_installed(HEIC)


def is_heif(data: bytes) -> bool:
    """Whether a file begins as a HEIF file does."""
    return data[4:8] == b"ftyp" and data[8:12] in _BRANDS


def open_heif(data: bytes) -> Image.Image:
    """Open a HEIF file, reading its header only; its main image is turned upright by the library.

    A file with more pixels than its header says is refused by libheif when it is loaded.

    Raises:
        UnreadableError: the library is not installed.
        Exception: the library's own, for a damaged file.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise UnreadableError(f"HEIC needs pillow-heif: {HEIC.command}") from None
    image: Image.Image = HeifImageFile(io.BytesIO(data))
    return image
