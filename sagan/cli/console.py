"""Printing for all commands."""

import contextlib
import errno
import os
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


def say_at_last(line: str) -> None:
    """Print one line, on standard error if nobody reads standard output any longer.

    Output then goes to nowhere: otherwise Python would fail when it flushes the rest at its end.
    """
    try:
        say(line)
        return
    except OSError:  # its reader has ended, or the terminal was closed
        pass
    with contextlib.suppress(OSError, ValueError):
        print(printable(line), file=sys.stderr)
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def open_console() -> "Console":
    """Return a console that redraws lines only on a real terminal, not in a notebook.

    If nobody reads the output any longer, it raises BrokenPipeError, where rich would exit.
    """
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    # FORCE_COLOR makes rich take a log file for a terminal, and lines there cannot be redrawn. Nor
    # can those of a notebook, which gives commands a terminal: its kernel has this variable.
    can_redraw = sys.stdout.isatty() and "JPY_PARENT_PID" not in os.environ
    return PlainConsole(force_interactive=None if can_redraw else False, force_jupyter=False)
