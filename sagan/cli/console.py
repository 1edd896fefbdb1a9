"""What commands print."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sagan.errors import printable

if TYPE_CHECKING:
    from rich.console import Console


def show(lines: Iterable[str]) -> None:
    # Names of classes and files, and a model's card, come from strangers.
    print("\n".join(map(printable, lines)), flush=True)


def say(line: str) -> None:
    show([line])


def say_nothing(line: str) -> None:
    pass


def open_console() -> "Console":
    from rich.console import Console

    # A log is none, though FORCE_COLOR calls it a terminal: lines in it cannot be redrawn.
    return Console(force_interactive=None if sys.stdout.isatty() else False)
