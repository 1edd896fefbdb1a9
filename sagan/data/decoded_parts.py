"""A decoded part of a source: written by one host, read by the one that makes the set."""

import itertools
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sagan.data.chunks import DecodedChunk
from sagan.data.npy_files import map_images, map_npy
from sagan.data.packed import IMAGES
from sagan.data.packing import Decoded
from sagan.data.skipped import SkippedFiles
from sagan.data.sources.base import Source, SourceImage
from sagan.errors import SaganError, UnreadableError
from sagan.images.depth import GrayRange
from sagan.images.shape import ImageShape
from sagan.storage.files import read_json
from sagan.types import BoolArray, Int64Array, Progress, UInt8Array

BLOCK = 64  # images that follow one another in the listing and belong to one part
READABLE, RECORDS, SUMMARY = "readable.npy", "images.jsonl", "part.json"


class PartOfListing(Iterable[SourceImage]):
    """The images of one part: every `total`-th block of the listing.

    Attributes:
        seen: images of the listing that have gone by; in the end, all.
    """

    def __init__(self, images: Iterator[SourceImage], index: int, total: int) -> None:
        self.seen = 0
        self._images = images
        self._index = index
        self._total = total

    def __iter__(self) -> Iterator[SourceImage]:
        for image in self._images:
            block = self.seen // BLOCK
            self.seen += 1
            if block % self._total == self._index:
                yield image


def size_of_part(index: int, total: int, num_images: int) -> int:
    """Return how many of so many images belong to a part, by its index from 0."""
    return int((owners_of(num_images, total) == index).sum())


def owners_of(num_images: int, total: int) -> Int64Array:
    """Return the index of the part, from 0, that each image of the listing belongs to."""
    return np.arange(num_images) // BLOCK % total


class PartWriter:
    """Collects everything about a part's images except their pixels."""

    def __init__(self, source: Source, max_unreadable: float) -> None:
        self.readable: list[bool] = []
        self.num_flat = 0
        self.gray = GrayRange()
        self._source = source
        self._max_unreadable = max_unreadable
        self._skipped = SkippedFiles(source.name)

    def take(
        self,
        chunks: Iterable[Decoded],
        write: Callable[[bytes], object],
        expected: int | None,
        progress: Progress | None,
    ) -> Generator[UInt8Array, None, None]:
        """Write a line for each image; yield the readable ones, uint8 (n, H, W, C)."""
        for images, chunk in chunks:
            self.num_flat += chunk.num_flat
            self.gray += chunk.gray
            hashes, attributes = iter(chunk.hashes), iter(chunk.attributes)
            for n, image in enumerate(images):
                why = chunk.unreadable.get(n)
                self.readable.append(why is None)
                record: list[object] = [image.name, image.label, why]
                if why is None:
                    record += [next(hashes), next(attributes)]
                else:
                    self._skipped.add(image.name, why)
                write(json.dumps(record).encode() + b"\n")
            if self._source.num_images is not None:
                self._skipped.check(self._source.num_images, self._max_unreadable)
            yield chunk.images
            if progress is not None:
                progress(len(self.readable), expected)


class DecodedPart:
    """A part that is there.

    Attributes:
        gray: the range of its gray images.
        num_flat: how many of its images are nearly of one color.
        listed: how many images its host saw in the source.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        summary = read_json(folder / SUMMARY, follow_links=False)
        self.gray = GrayRange(**summary["gray"])
        self.num_flat: int = summary["num_flat"]
        self.listed: int = summary["listed"]

    @cached_property
    def readable(self) -> BoolArray:
        """Which of its images are readable, bool (n,)."""
        return np.array(map_npy(self.folder / READABLE), dtype=np.bool_)

    def records(self) -> Iterator[list[Any]]:
        """Yield of each image: name, label, and why it is unreadable, or None, hash, attributes."""
        with (self.folder / RECORDS).open(encoding="ascii") as lines:
            for line in lines:
                yield json.loads(line)


class PartImages:
    """The readable images of all parts in the order of the listing, uint8 (N, H, W, C).

    Attributes:
        shape: (N, H, W, C).
        owners: the index of the part of each image in the listing, readable or not.
    """

    def __init__(self, parts: list[DecodedPart], shape: ImageShape, work: Path) -> None:
        listed = {part.listed for part in parts}
        if len(listed) > 1:
            raise SaganError(
                f"the hosts saw different numbers of pictures, {min(listed):,} to {max(listed):,}: "
                f"remove '{work}' and start again"
            )
        self.owners = owners_of(listed.pop(), len(parts))
        readable = np.empty(len(self.owners), np.bool_)
        for index, part in enumerate(parts):
            readable[self.owners == index] = part.readable
        self._owners = self.owners[readable]
        self._offsets = np.empty(len(self._owners), np.int64)
        self._images = []
        for index, part in enumerate(parts):
            num = int(part.readable.sum())
            self._offsets[self._owners == index] = np.arange(num)
            self._images.append(map_images(part.folder / IMAGES, (num, *shape)))
        self.shape = (len(self._owners), *shape)

    def __len__(self) -> int:
        return len(self._owners)

    def __getitem__(self, rows: int | slice | Int64Array) -> UInt8Array:
        owners, offsets = np.atleast_1d(self._owners[rows]), np.atleast_1d(self._offsets[rows])
        images = np.empty((len(owners), *self.shape[1:]), np.uint8)
        for index in np.unique(owners).tolist():
            chosen = owners == index
            images[chosen] = self._images[index][offsets[chosen]]
        return images[0] if isinstance(rows, int) else images


def replayed(parts: list[DecodedPart], images: PartImages) -> Iterator[Decoded]:
    """Yield all images in the order of the listing, as `decoded_chunks` would."""
    records = [part.records() for part in parts]
    # Sums over the set, so it does not matter with which chunk they come.
    num_flat, done = sum(part.num_flat for part in parts), 0
    for start in range(0, len(images.owners), BLOCK):
        owners = images.owners[start : start + BLOCK]
        lines = list(itertools.islice(records[owners[0]], len(owners)))
        listed = [SourceImage(name, label, _no_bytes) for name, label, *_ in lines]
        unreadable = {n: line[2] for n, line in enumerate(lines) if line[2] is not None}
        known = [line[3:] for n, line in enumerate(lines) if n not in unreadable]
        pixels = images[done : done + len(known)]
        done += len(known)
        hashes, attributes = [each[0] for each in known], [each[1] for each in known]
        chunk = DecodedChunk(pixels, hashes, num_flat, attributes, GrayRange(), unreadable)
        yield listed, chunk
        num_flat = 0


def _no_bytes() -> bytes:
    raise UnreadableError("decoded already")
