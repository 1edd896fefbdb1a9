"""What a source of pictures is: encoded pictures with labels, in a fixed order.

A source names functions that read and decode a picture, rather than giving pixels, so that the
worker processes that decode can read as well.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sagan.images.decode import Fit, ImageFacts
from sagan.types import UInt8Array


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a source, not read yet.

    name is unique within the source; label is in 0..K-1, or NO_LABEL in a source without classes;
    read() gives the encoded file and raises UnreadableError. It can be pickled, since another
    process may be the one to call it.
    """

    name: str
    label: int
    read: Callable[[], bytes]


class Decoder(Protocol):
    """A module-level function, so that other processes can be told to call it."""

    def __call__(self, data: bytes, size: int, fit: Fit) -> UInt8Array:
        """Encoded picture -> uint8 (size, size, 3), RGB. Raises UnreadableError."""


class Source(Protocol):
    """A set of encoded pictures in a fixed order, the same on every machine."""

    @property
    def name(self) -> str:
        """What to call the source when talking to the user."""

    @property
    def split(self) -> str:
        """The split that `pictures` yields."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are, empty where the source has none."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes, empty without labels."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided about the source and the user should hear, a line each."""

    @property
    def num_pictures(self) -> int | None:
        """How many pictures `pictures` yields; None where only reading them all would tell."""

    def pictures(self) -> Iterator[Picture]:
        """Yield every picture of the split.

        Raises SaganError where the source itself, rather than one picture, turns out damaged.
        """

    def listing_digest(self) -> str:
        """Sha256 hex over what is there, without reading any picture: changes when files do."""

    @property
    def decode(self) -> Decoder:
        """Turns what this source's pictures read as into pixels."""

    @property
    def examine(self) -> Callable[[bytes], ImageFacts]:
        """Says what a picture is; a module-level function, too. Raises UnreadableError."""


def digest_of(
    kind: str, path: Path, classes: tuple[str, ...], entries: Iterable[tuple[object, ...]]
) -> str:
    """Sha256 hex over a source's listing, for `Source.listing_digest`."""
    digest = hashlib.sha256()
    for entry in ((kind, str(path.resolve())), classes, *entries):
        # ascii escapes the lone surrogates of names that are not UTF-8.
        digest.update(ascii(entry).encode() + b"\n")
    return digest.hexdigest()


def file_entries(paths: Iterable[Path]) -> Iterator[tuple[object, ...]]:
    """What of files goes into a listing's digest: name, size and time of change."""
    for path in paths:
        status = path.stat()
        yield path.name, status.st_size, status.st_mtime_ns
