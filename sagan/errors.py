"""Errors meant for users rather than programmers."""

import difflib
import errno
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


_REMEDIES = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose a place that you may write to",
}


# What torch, NumPy and the system say when memory runs out, each with an error class of its own.
_OUT_OF_MEMORY = (
    *("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory"),
    *("unable to allocate", "bad_alloc", "bad allocation", "alloc_failed"),
    "can't start new thread",
)
MAX_MESSAGE = 800  # characters


class SaganError(Exception):
    """Something given by the user cannot be used.

    The message is one line that says what is wrong, where, and how to fix it. The command line
    prints it and exits with status 2; library callers can catch all such errors by this class.
    """


class DivergedError(SaganError):
    """A network computes numbers that are not finite."""


class UnreadableError(Exception):
    """A single file cannot be read; the message is the reason, short enough for a table."""


def printable(text: str) -> str:
    """Return text with line feeds, escapes and other control characters replaced by U+FFFD."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def counted(num: int, one: str, many: str) -> str:
    """Return a number with what it counts: "1 picture is left out", "1,200 pictures are left out".

    Args:
        num: the number.
        one: the words after 1, such as "picture is left out".
        many: the words after any other number.
    """
    return f"{num:,} {one if num == 1 else many}"


def similar_words(word: str, known: Collection[str]) -> str:
    """Return the end of a message about an unknown word: similar known words, else all."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f": did you mean {' or '.join(close)}?"
    return f": choose from {', '.join(known)}"


def shorten(text: str, most: int = MAX_MESSAGE) -> str:
    """Return text of at most `most` characters, with the middle left out if it is longer.

    A message may quote names and values of any length from files that come from anyone.
    """
    if len(text) <= most:
        return text
    end = most // 4  # where a message says how to mend it
    return f"{text[: most - end - 5]} ... {text[-end:]}"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a device or on the machine.

    Torch raises a plain RuntimeError for its CPU allocator, and its own class for devices.
    """
    if isinstance(error, MemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError | OSError | ImportError) and any(
        phrase in message for phrase in _OUT_OF_MEMORY
    )


def first_problem(error: "ValidationError") -> str:
    """Return where the first problem is and what it is, as part of a one-line message."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "as a whole"
    return f"{where}: {first['msg']}"


def reason(error: Exception) -> str:
    """Return in one line why something could not be written and, where known, how to mend it."""
    message = " ".join(str(getattr(error, "strerror", None) or error).split())
    remedy = _REMEDIES.get(getattr(error, "errno", None) or 0)
    return f"{message} ({remedy})" if remedy else message
