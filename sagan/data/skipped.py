"""Files that could not be used: all are counted, and the first of them named."""

import json

from pydantic import BaseModel, ConfigDict

from sagan.errors import SaganError

# What each list of names takes of pack.json, which may have 8 MiB.
MAX_NAMED_BYTES = 2**20
_LAYOUT_BYTES = 40  # of each, in indented JSON


class SkippedFile(BaseModel):
    """A file that could not be used, and why."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    name: str
    reason: str


class SkippedFiles:
    """The files of a source that could not be used.

    Args:
        source: the source's name in messages.

    Attributes:
        num: how many there are.
        named: the first of them, in as many bytes of JSON as `MAX_NAMED_BYTES`.
    """

    def __init__(self, source: str) -> None:
        self.num = 0
        self.named: list[SkippedFile] = []
        self._source = source
        self._first = ""
        self._left = MAX_NAMED_BYTES

    def add(self, name: str, reason: str) -> None:
        """Count a file, and name it if there is room."""
        self.num += 1
        self._first = self._first or f"'{name}' ({reason})"
        if self._left > 0:
            self._left -= len(json.dumps([name, reason])) + _LAYOUT_BYTES
            if self._left >= 0:
                self.named.append(SkippedFile(name=name, reason=reason))

    def check(self, num_images: int, most: float) -> None:
        """Stop if there are too many.

        Args:
            num_images: how many images there are in all, or have been read.
            most: the share that may be unreadable, 0 to 1.

        Raises:
            SaganError: there are more.
        """
        if self.num > most * num_images:
            raise SaganError(
                f"too many unreadable pictures in '{self._source}': {self.num} of {num_images} so "
                f"far, such as {self._first}; repair or remove them, or allow more with "
                "--max-unreadable"
            )
