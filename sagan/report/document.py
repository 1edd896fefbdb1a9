"""A report as a list of parts, written as markdown or as one HTML page."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from sagan.report.page import STYLE


@dataclass(frozen=True)
class Heading:
    """Of the second level."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list; what stands before the first ":" of each is emphasized."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A table of text; lines break at spaces from the column called `prose` on, else nowhere."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    prose: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure: an SVG element."""

    title: str
    svg: str

    @property
    def file(self) -> str:
        """The name of its file beside a markdown report."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")[:60] + ".svg"


@dataclass(frozen=True)
class Code:
    """Lines as they are."""

    text: str


Part: TypeAlias = Heading | Text | Points | Grid | Picture | Code
FIGURES = "figures"


def as_markdown(title: str, parts: Sequence[Part]) -> str:
    """GitHub's markdown; pictures are files in `FIGURES`."""
    return f"# {title}\n\n" + "\n\n".join(_markdown(part) for part in parts) + "\n"


def _markdown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"## {text}"
        case Text(text):
            return text
        case Points(texts):
            return "\n".join(f"* **{head}**:{rest}" for head, rest in _divided(texts))
        case Grid(headings, rows, _):
            lines = [headings, ["---"] * len(headings), *rows]
            return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
        case Picture(title, _):
            return f"![{title}]({FIGURES}/{part.file})"
        case Code(text):
            return f"```\n{text}\n```"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def as_html(title: str, parts: Sequence[Part]) -> str:
    """One page that needs no other file and no network."""
    head = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
    head += '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<style>{STYLE}{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n"
    return head + "\n".join(_html(part) for part in parts) + "\n</body></html>\n"


_PROSE = ' class="prose"'
_STYLE = """
.wide { overflow-x: auto; } pre { white-space: pre-wrap; background: #f6f6f6; padding: .6rem; }
.wide td { white-space: nowrap; } .wide td + td { overflow-wrap: normal; }
.wide td, .wide th { padding-right: .8rem; }
.wide td.prose, .wide td.prose ~ td { white-space: normal; }
.wide td.prose { font-family: inherit; min-width: 9rem; }
figure { display: inline-block; width: min(36rem, 100%); margin-right: 1.5rem;
  vertical-align: top; }
"""


def _html(part: Part) -> str:
    match part:
        case Heading(text):
            return f"<h2>{escape(text)}</h2>"
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Points(texts):
            items = (
                f"<li><strong>{escape(head)}</strong>:{escape(rest)}</li>"
                for head, rest in _divided(texts)
            )
            return f"<ul>{''.join(items)}</ul>"
        case Grid(headings, rows, _):
            top = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
            body = "".join(f"<tr>{_html_cells(part, row)}</tr>\n" for row in rows)
            return f'<div class="wide"><table><tr>{top}</tr>\n{body}</table></div>'
        case Picture(title, svg):
            return f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>"
        case Code(text):
            return f"<pre>{escape(text)}</pre>"


def _html_cells(grid: Grid, row: Sequence[str]) -> str:
    return "".join(
        f"<td{_PROSE if heading == grid.prose else ''}>{escape(cell)}</td>"
        for heading, cell in zip(grid.headings, row, strict=True)
    )


def _divided(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        head, _, rest = text.partition(":")
        yield head, rest
