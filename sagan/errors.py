"""Errors meant for users rather than programmers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class SaganError(Exception):
    """Something given by the user cannot be used.

    The message is one line that says what is wrong, where, and how to fix it. The command line
    prints it and exits with status 2; library callers can catch all such errors by this class.
    """


class UnreadableError(Exception):
    """A single file cannot be read; the message is the reason, short enough for a table."""


def printable(text: str) -> str:
    """Return text with line feeds, escapes and other control characters replaced by U+FFFD."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def first_problem(error: "ValidationError") -> str:
    """Return where the first problem is and what it is, as part of a one-line message."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "as a whole"
    return f"{where}: {first['msg']}"
