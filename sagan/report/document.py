"""A report as a list of parts, written as markdown or as one HTML page."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

TEMPLATE = Path(__file__).parent / "templates" / "document.html"


@dataclass(frozen=True)
class Heading:
    """A heading of the second level."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class BulletList:
    """A list; the text before the first ":" of each item is emphasized."""

    texts: Sequence[str]

    def divided(self) -> Iterator[tuple[str, str]]:
        """Yield each item as the text before its first ":" and the text after it."""
        for text in self.texts:
            head, _, rest = text.partition(":")
            yield head, rest


@dataclass(frozen=True)
class Grid:
    """A table of text. Only cells in the column `prose` and to its right may break lines."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    prose: str = ""

    def cells(self, row: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """Yield each cell of a row, and whether it is in the column `prose`."""
        for heading, cell in zip(self.headings, row, strict=True):
            yield cell, heading == self.prose


@dataclass(frozen=True)
class Figure:
    """A figure: an SVG element."""

    title: str
    svg: str

    @property
    def file(self) -> str:
        """The name of its file beside a markdown report."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")[:60] + ".svg"


@dataclass(frozen=True)
class Code:
    """Preformatted lines."""

    text: str


DocumentPart: TypeAlias = Heading | Text | BulletList | Grid | Figure | Code
FIGURES = "figures"


def as_markdown(title: str, parts: Sequence[DocumentPart]) -> str:
    """Return GitHub's markdown; its figures are files in the folder `FIGURES`."""
    return f"# {title}\n\n" + "\n\n".join(_markdown(part) for part in parts) + "\n"


def _markdown(part: DocumentPart) -> str:
    match part:
        case Heading(text):
            return f"## {_plain(text)}"
        case Text(text):
            return _plain(text)
        case BulletList():
            return "\n".join(
                f"* **{_plain(head)}**:{_plain(rest)}" for head, rest in part.divided()
            )
        case Grid(headings, rows, _):
            lines = [headings, ["---"] * len(headings), *rows]
            return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
        case Figure(title, _):
            return f"![{_plain(title)}]({FIGURES}/{part.file})"
        case Code(text):
            longest = max(map(len, re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)  # so that the text cannot end its own block
            return f"{fence}\n{text}\n{fence}"


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|").replace("\n", " ")


def _plain(text: str) -> str:
    """Return text in which names from elsewhere cannot be HTML, links or images."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("[", "\\[")


def as_html(title: str, parts: Sequence[DocumentPart]) -> str:
    """Return one page that needs no other file and no network."""
    from sagan.report.html import render  # markdown needs no templates

    kinds = [(type(part).__name__, part) for part in parts]  # the template has a case for each
    return render(TEMPLATE, title=title, parts=kinds)
