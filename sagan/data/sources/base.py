"""The protocol of a source: encoded images with labels, in a fixed order.

A source gives functions that read and decode an image, rather than pixels, so that worker processes
can do both.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sagan.images.decode import Fit, ImageFacts
from sagan.images.shape import Colors, Resolution
from sagan.types import UInt8Array


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image of a source, not read yet. Picklable, since another process may read it.

    Attributes:
        name: unique within the source.
        label: in 0..K-1, or NO_LABEL in a source without classes.
        read: returns the encoded image, or raises UnreadableError.
    """

    name: str
    label: int
    read: Callable[[], bytes]


class Decoder(Protocol):
    """A function that decodes; at module level, so that other processes can be asked to call it."""

    def __call__(
        self, data: bytes, size: Resolution, fit: Fit, *, colors: Colors = "rgb"
    ) -> UInt8Array:
        """Encoded image -> uint8 (H, W, C), such as (size, size, 3). Raises UnreadableError."""


class Source(Protocol):
    """A set of encoded images in a fixed order, the same on every machine."""

    @property
    def name(self) -> str:
        """The source's name in messages."""

    @property
    def split(self) -> str:
        """The split that `images` yields."""

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits, empty where the source has none."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes, empty without labels."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Decisions about the source that the user should know of, one line each."""

    @property
    def credits(self) -> str:
        """Who made the images and on what terms they may be used; lines of text, "" if unknown.

        Whatever shows the images, or samples of a model trained on them, repeats it.
        """

    @property
    def num_images(self) -> int | None:
        """The number of images in `images`; None if only reading them all would show it."""

    def images(self) -> Iterator[SourceImage]:
        """Yield every image of the split.

        Raises SaganError where the source itself, rather than one image, turns out to be damaged.
        """

    def listing_digest(self) -> str:
        """Sha256 hex over the listing, without reading any image: changes when files do."""

    @property
    def decode(self) -> Decoder:
        """The function from the bytes that this source's images are read as to pixels."""

    @property
    def examine(self) -> Callable[[bytes], ImageFacts]:
        """The function from such bytes to facts; at module level. Raises UnreadableError."""

    @property
    def attributes(self) -> Callable[[bytes], dict[str, str]] | None:
        """The function from such bytes to what the source knows of the image, if it knows anything.

        Names -> values, such as `hairColor` -> "#d6b370"; at module level.
        """


def digest_of(
    kind: str, path: Path, classes: tuple[str, ...], entries: Iterable[tuple[object, ...]]
) -> str:
    """Return the sha256 hex over a source's listing, for `Source.listing_digest`."""
    digest = hashlib.sha256()
    for entry in ((kind, str(path.resolve())), classes, *entries):
        # ascii escapes the lone surrogates of names that are not UTF-8.
        digest.update(ascii(entry).encode() + b"\n")
    return digest.hexdigest()


def file_entries(paths: Iterable[Path]) -> Iterator[tuple[object, ...]]:
    """Yield for each file what goes into a listing's digest: name, size and time of change."""
    for path in paths:
        status = path.stat()
        yield path.name, status.st_size, status.st_mtime_ns
