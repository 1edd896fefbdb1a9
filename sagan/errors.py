"""Errors meant for users rather than programmers."""

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


_REMEDIES = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose a place that you may write to",
}


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


def reason(error: Exception) -> str:
    """Return in one line why something could not be written and, where known, how to mend it."""
    message = " ".join(str(getattr(error, "strerror", None) or error).split())
    remedy = _REMEDIES.get(getattr(error, "errno", None) or 0)
    return f"{message} ({remedy})" if remedy else message
