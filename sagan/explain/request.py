"""The options of `sagan explain`, in the user's words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sagan.errors import SaganError
from sagan.storage.files import check_page_name

NUM_DOTS, FIGURE_SAMPLES, PAGE_SAMPLES = 4, 4, 12


@dataclass(frozen=True)
class ExplainRequest:
    """Options, checked against each other.

    Attributes:
        figure: FILE.png, FILE.svg or FILE.pdf to write.
        page: FILE.html to write.
        photos: images to show D's attention on, instead of G's on samples.
        queries: pixels "x,y" to ask about.
        grid: N, to ask about a grid of N x N pixels.
        dots: how many query points to choose.
        num: how many samples.
        classes: comma-separated names or numbers.
        cut: whether the figure shows samples without attention, not what dots attend to.
        simple: write the figure for a lecture instead.

    Raises:
        SaganError: options exclude each other, or the page is not named FILE.html.
    """

    figure: Path | None
    page: Path | None
    photos: Sequence[Path]
    queries: Sequence[str]
    grid: int | None
    dots: int | None
    num: int | None
    classes: str | None
    cut: bool = False
    simple: bool = False

    def __post_init__(self) -> None:
        if not (self.figure or self.page):
            raise SaganError("nothing to write: give --out FILE.png, --html FILE.html or both")
        points = [bool(self.queries), self.grid is not None, self.dots is not None]
        if sum(points) > 1:
            raise SaganError("--query, --grid and --dots exclude each other: give one of them")
        if self.photos and (self.num is not None or self.classes is not None):
            raise SaganError("--num and --classes choose samples: leave them out with --image")
        if any(points) and not self.figure:
            raise SaganError(
                "--query, --grid and --dots choose points of a figure, on the page readers choose "
                "them: leave them out, or give --out FILE.png"
            )
        if self.cut and (any(points) or self.photos or not self.figure):
            raise SaganError(
                "--cut draws samples without attention into a figure: give --out FILE.png, and "
                "leave --image, --query, --grid and --dots out"
            )
        if self.simple and not self.figure:
            raise SaganError("--simple is for a figure: give --out FILE.png, FILE.gif or FILE.webp")
        if self.simple and (self.cut or self.grid is not None or self.dots is not None):
            raise SaganError("--simple shows one dot at a time: leave out --grid, --dots and --cut")
        if self.page is not None:
            check_page_name(self.page)

    def samples(self, default: int) -> int:
        """Return how many samples to show: as asked, else `default`, or one per class named."""
        return self.num or max(default, len(self.classes.split(",")) if self.classes else 0)
