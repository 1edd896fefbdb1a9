"""Errors that a user, rather than a programmer, is meant to read."""

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
    """Something the user gave cannot be used.

    The message is one line that says what is wrong, where, and how to mend it. The command line
    prints it and exits with status 2; library callers may catch it as one family.
    """


class UnreadableError(Exception):
    """A single file cannot be used; the message is the reason, short enough for a table."""


def printable(text: str) -> str:
    """One line, in which what could steer a terminal (escapes, line feeds) is shown as U+FFFD."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def first_problem(error: "ValidationError") -> str:
    """Where in a file's content the first thing is wrong, and what, for a message of one line."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "as a whole"
    return f"{where}: {first['msg']}"


def reason(error: Exception) -> str:
    """Return in one line why something could not be written and, where known, how to mend it."""
    message = " ".join(str(getattr(error, "strerror", None) or error).split())
    remedy = _REMEDIES.get(getattr(error, "errno", None) or 0)
    return f"{message} ({remedy})" if remedy else message
