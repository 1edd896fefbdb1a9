"""Printing for all commands."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sagan.errors import printable

if TYPE_CHECKING:
    from rich.console import Console


def show(lines: Iterable[str]) -> None:
    """Print lines without control codes: names and model cards may come from anyone."""
    print("\n".join(map(printable, lines)), flush=True)


def say(line: str) -> None:
    """Print one line."""
    show([line])


def say_nothing(line: str) -> None:
    """Take a line and print nothing: for all processes but the main one."""


def open_console() -> "Console":
    """Return a console that redraws lines only on a real terminal."""
    from rich.console import Console

    # FORCE_COLOR makes rich take a log file for a terminal, and lines there cannot be redrawn.
    return Console(force_interactive=None if sys.stdout.isatty() else False)
