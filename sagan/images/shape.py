"""The shape of an image, and how configurations, model files and packed sets write it."""

import re
from typing import Literal, NamedTuple, TypeAlias, get_args

Resolution: TypeAlias = int | str  # 64 for squares, "96x64" (width x height) for others
Colors: TypeAlias = Literal["gray", "rgb", "rgba"]

_CHANNELS: dict[Colors, int] = {"gray": 1, "rgb": 3, "rgba": 4}
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


class ImageShape(NamedTuple):
    """The shape of an image as an array (H, W, C), which this tuple equals.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: 1 for gray, 3 for RGB, 4 for RGB and opacity.
    """

    height: int
    width: int
    channels: int = 3

    @classmethod
    def of(cls, resolution: Resolution, colors: str = "rgb") -> "ImageShape":
        """Return the shape that settings ask for.

        Args:
            resolution: the side of square images in pixels, or "96x64" for 96 across and 64 down.
            colors: "gray", "rgb" or "rgba".

        Raises:
            ValueError: they do not describe an image.
        """
        found = _SIZE.fullmatch(str(resolution)) or _SIZE.fullmatch(f"{resolution}x{resolution}")
        if not found:
            raise ValueError(f"{resolution!r} is not a size in pixels such as 64 or 96x64")
        for known in get_args(Colors):
            if colors == known:
                return cls(int(found[2]), int(found[1]), _CHANNELS[known])
        raise ValueError(f"unknown colors {colors!r}: choose from {', '.join(_CHANNELS)}")

    @property
    def resolution(self) -> Resolution:
        """The size as settings write it."""
        return self.width if self.width == self.height else f"{self.width}x{self.height}"

    @property
    def colors(self) -> Colors:
        """The colors as settings write them."""
        return next(name for name, number in _CHANNELS.items() if number == self.channels)

    @property
    def side(self) -> int:
        """The shorter side in pixels. Feature maps, which have the same proportions, have theirs
        as a name."""
        return min(self.height, self.width)

    def feature_map(self, side: int) -> tuple[int, int]:
        """Return the rows and columns of the feature map with this shorter side."""
        return self.height * side // self.side, self.width * side // self.side

    def __str__(self) -> str:
        """Return the shape for people, such as "64 x 64" or "96 x 64 gray"."""
        size = f"{self.width} x {self.height}"
        return size if self.channels == _CHANNELS["rgb"] else f"{size} {self.colors}"
