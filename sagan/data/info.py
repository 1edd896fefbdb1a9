"""Measuring a source before training on it: sizes, classes, copies, unreadable files."""

import contextlib
import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from sagan.data.cache import check_split, find_manifest, open_dataset
from sagan.data.chunks import FLAT_CONTRAST
from sagan.data.near_copies import as_signatures, near_copies
from sagan.data.packed import Manifest, PackedDataset
from sagan.data.sources.base import Decoder, Source
from sagan.data.sources.open import open_source
from sagan.data.sources.tree import DEFAULT_SPLIT, NO_LABEL
from sagan.data.workers import map_images
from sagan.errors import UnreadableError
from sagan.images.credits import checked_credits
from sagan.images.decode import ImageFacts, decode
from sagan.images.depth import FULL_BITS, GrayRange
from sagan.images.rgb import as_rgb
from sagan.types import Progress, UInt8Array

THUMBNAIL_SIZE = 64
# A contact sheet shows one row of each class, or SHEET_ROWS rows of a set without classes.
SHEET_COLUMNS = 12
SHEET_ROWS = 12
PILLOW_MODES = {"gray": "L", "rgb": "RGB", "rgba": "RGBA"}
# This many copies are listed by name; the rest are only counted.
MAX_NAMED = 1000


@dataclass(frozen=True)
class Spread:
    """The smallest, the median and the largest of some lengths in pixels."""

    smallest: int
    median: float
    largest: int


@dataclass(frozen=True)
class DatasetInfo:
    """A source in numbers, for one split.

    Attributes:
        source: what the user called it.
        split: the split that was measured.
        splits: all splits, empty where the source has none.
        num_images: the number of readable images.
        classes: class names; empty without labels.
        counts: readable images by class name; empty without labels.
        widths: in pixels; None if no image is readable, and so for the next two.
        heights: in pixels.
        short_sides: in pixels.
        modes: Pillow's modes, with counts.
        formats: file formats by Pillow's names, with counts; "packed" for a packed set.
        unreadable: the reason, by file name; of a packed set, those that pack.json names.
        num_copies: how many images are the same file (in a packed set: the same pixels) as an
            earlier one.
        copies: some of these, each with the earlier one.
        num_contradicting: how many of them have another label than it.
        num_near_copies: how many images are nearly the same as an earlier one, but not quite; 0
            for a packed set and for drawings, which are not compared.
        near_copies: some of these, each with the earlier one.
        num_near_contradicting: how many of them have another label than it.
        num_flat: how many images are nearly of one color.
        colors: how many images need "gray", "rgb" or "rgba", as `ImageFacts.colors`.
        more_unreadable: how many more files are unreadable than those in `unreadable`.
        thumbnails: some images by class name ("" without labels), each uint8
            (THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3).
        notes: decisions about the source that the user should know of.
        credits: who made the images, in lines of text; "" if unknown.
    """

    source: str
    split: str
    splits: tuple[str, ...]
    num_images: int
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    widths: Spread | None
    heights: Spread | None
    short_sides: Spread | None
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    unreadable: Mapping[str, str]
    num_copies: int
    copies: tuple[tuple[str, str], ...]
    thumbnails: Mapping[str, tuple[UInt8Array, ...]]
    notes: tuple[str, ...]
    credits: str = ""
    num_contradicting: int = 0
    num_near_copies: int = 0
    near_copies: tuple[tuple[str, str], ...] = ()
    num_near_contradicting: int = 0
    num_flat: int = 0
    colors: Mapping[str, int] = field(default_factory=dict)
    more_unreadable: int = 0

    @property
    def num_unreadable(self) -> int:
        """How many files are unreadable."""
        return len(self.unreadable) + self.more_unreadable

    @property
    def labeled(self) -> bool:
        """Whether every picture has a class."""
        return bool(self.classes)


@dataclass(frozen=True)
class _Examined:
    """What is kept of one image."""

    facts: ImageFacts
    digest: bytes
    thumbnail: UInt8Array | None


def describe(
    source: str,
    *,
    split: str | None = None,
    thumbnails: bool = False,
    progress: Progress | None = None,
) -> DatasetInfo:
    """Measure a source by decoding every image in full, and compare each with all others.

    Args:
        source: anything that `open_dataset` takes.
        split: which part of it; None means "train", or the split of a packed set.
        thumbnails: whether to keep some small images, for a contact sheet.
        progress: called with (images done, images in all or None) while they are read, and again
            while they are compared.

    Raises:
        SaganError: the source cannot be used, has no images, or lacks the split. Unreadable images
            are not an error here, however many there are.
    """
    manifest = find_manifest(source)
    if manifest is not None:
        check_split(source, manifest.split, split)
        return _describe_packed(source, manifest, thumbnails)
    opened = open_source(source, split or DEFAULT_SPLIT)
    survey = _surveyed(opened, opened.decode if thumbnails else None, progress)
    if thumbnails and survey.gray.bits < FULL_BITS:
        # Only all images together show the range that packing will use: once more, with it.
        gray_decode = partial(decode, gray_bits=survey.gray.bits)
        survey = _surveyed(opened, gray_decode, progress)
    return survey.result(opened, progress)


def _surveyed(source: Source, decode: Decoder | None, progress: Progress | None) -> "_Survey":
    survey = _Survey(source.classes)
    work = partial(_examine, examine=source.examine, decode=decode)
    with contextlib.closing(map_images(work, source.images(), source.num_images)) as results:
        for done, (image, examined) in enumerate(results, 1):
            if isinstance(examined, UnreadableError):
                survey.unreadable[image.name] = str(examined)
            else:
                survey.add(image.name, image.label, examined)
            if progress is not None:
                progress(done, source.num_images)
    return survey


def _examine(
    data: bytes, examine: Callable[[bytes], ImageFacts], decode: Decoder | None
) -> _Examined:
    facts = examine(data)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    thumbnail = decode(data, THUMBNAIL_SIZE, "crop") if decode is not None else None
    return _Examined(facts, digest, thumbnail)


class _Survey:
    """Counts examined images; finding copies takes about 600 bytes of memory for each."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.unreadable: dict[str, str] = {}
        self._classes = classes
        self._labels: Counter[int] = Counter()
        self._widths: Counter[int] = Counter()
        self._heights: Counter[int] = Counter()
        self._short_sides: Counter[int] = Counter()
        self._modes: Counter[str] = Counter()
        self._formats: Counter[str] = Counter()
        self._colors: Counter[str] = Counter()
        self._first: dict[bytes, tuple[str, int]] = {}
        self._copies: list[tuple[str, str]] = []
        self._num_copies = self._num_contradicting = 0
        self._signatures = bytearray()
        self._compared: list[tuple[str, int]] = []
        self._contrasts: Counter[tuple[bool, int]] = Counter()
        self.gray = GrayRange()
        self._samples: defaultdict[int, list[tuple[bytes, str, UInt8Array]]] = defaultdict(list)

    def add(self, name: str, label: int, image: _Examined) -> None:
        """Count an image."""
        facts = image.facts
        self._labels[label] += 1
        self._widths[facts.width] += 1
        self._heights[facts.height] += 1
        self._short_sides[min(facts.width, facts.height)] += 1
        self._modes[facts.mode] += 1
        self._formats[facts.format] += 1
        self._colors[facts.colors] += 1
        self.gray += facts.gray
        if facts.contrast is not None:
            self._contrasts[bool(facts.gray.num), facts.contrast] += 1
        first, first_label = self._first.setdefault(image.digest, (name, label))
        if first != name:
            self._num_copies += 1
            self._num_contradicting += label != first_label
            if len(self._copies) < MAX_NAMED:
                self._copies.append((name, first))
            return
        if facts.signature:
            self._signatures += facts.signature
            self._compared.append((name, label))
        if image.thumbnail is not None:
            self._sample(label, image.digest, name, image.thumbnail)

    def _num_flat(self) -> int:
        stretch = 2 ** (FULL_BITS - self.gray.bits)
        return sum(
            num
            for (is_deep, contrast), num in self._contrasts.items()
            if contrast * (stretch if is_deep else 1) <= FLAT_CONTRAST
        )

    def _sample(self, label: int, digest: bytes, name: str, thumbnail: UInt8Array) -> None:
        """Keep the images with the greatest digests: a random choice, but always the same."""
        kept = self._samples[label]
        most = SHEET_COLUMNS * (SHEET_ROWS if label == NO_LABEL else 1)
        add = heapq.heappush if len(kept) < most else heapq.heappushpop
        add(kept, (digest, name, thumbnail))

    def result(self, source: Source, progress: Progress | None) -> DatasetInfo:
        """Return the numbers of all images added, and which of them are nearly the same."""
        found = dict(near_copies(as_signatures(self._signatures), progress))
        pairs = [
            (self._compared[row], self._compared[earlier]) for row, earlier in sorted(found.items())
        ]
        labels = dict(enumerate(source.classes)) if source.classes else {NO_LABEL: ""}
        return DatasetInfo(
            source=source.name,
            split=source.split,
            splits=source.splits,
            num_images=self._labels.total(),
            classes=source.classes,
            counts={name: self._labels[label] for label, name in enumerate(source.classes)},
            widths=_spread(self._widths),
            heights=_spread(self._heights),
            short_sides=_spread(self._short_sides),
            modes=dict(self._modes.most_common()),
            formats=dict(self._formats.most_common()),
            unreadable=self.unreadable,
            num_copies=self._num_copies,
            copies=tuple(self._copies),
            thumbnails={
                name: tuple(thumbnail for _, _, thumbnail in sorted(samples, key=_digest))
                for label, name in labels.items()
                if (samples := self._samples[label])
            },
            credits=source.credits,
            notes=(*source.notes, *filter(None, [self.gray.note])),
            num_contradicting=self._num_contradicting,
            num_near_copies=len(pairs),
            near_copies=tuple((name, first) for (name, _), (first, _) in pairs[:MAX_NAMED]),
            num_near_contradicting=sum(label != first for (_, label), (_, first) in pairs),
            num_flat=self._num_flat(),
            colors=self._colors,
        )


def _digest(sample: tuple[bytes, str, UInt8Array]) -> bytes:
    return sample[0]


def _describe_packed(source: str, manifest: Manifest, thumbnails: bool) -> DatasetInfo:
    height, width, short_side = (
        Spread(side, side, side)
        for side in (manifest.shape.height, manifest.shape.width, manifest.shape.side)
    )
    unreadable = {file.name: file.reason for file in manifest.skipped}
    return DatasetInfo(
        source=source,
        split=manifest.split,
        splits=(manifest.split,),
        num_images=manifest.num_images,
        classes=manifest.classes,
        counts=dict(zip(manifest.classes, manifest.counts, strict=True)),
        widths=width,
        heights=height,
        short_sides=short_side,
        modes={PILLOW_MODES[manifest.colors]: manifest.num_images},
        formats={"packed": manifest.num_images},
        unreadable=unreadable,
        more_unreadable=manifest.num_skipped - len(unreadable),
        num_copies=manifest.num_copies,
        copies=tuple((name, group[0]) for group in manifest.duplicates for name in group[1:]),
        thumbnails=_packed_thumbnails(_opened(source, manifest)) if thumbnails else {},
        notes=(f"packed from {manifest.source} with fit '{manifest.fit}'", *manifest.notes),
        credits=checked_credits(manifest.credits),
    )


def _opened(source: str, manifest: Manifest) -> PackedDataset:
    shape = manifest.shape
    dataset = open_dataset(source, shape.resolution, colors=shape.colors, streamed=True)
    return dataset.at_hand(SHEET_COLUMNS * SHEET_ROWS)


def _packed_thumbnails(dataset: PackedDataset) -> dict[str, tuple[UInt8Array, ...]]:
    """Return images spread evenly over each class, in their own size."""
    if dataset.labels is not None:
        return {
            name: _spread_over(dataset, np.flatnonzero(dataset.labels == label), SHEET_COLUMNS)
            for label, name in enumerate(dataset.classes)
            if (dataset.labels == label).any()
        }
    return {"": _spread_over(dataset, np.arange(len(dataset)), SHEET_COLUMNS * SHEET_ROWS)}


def _spread_over(dataset: PackedDataset, rows: np.ndarray, most: int) -> tuple[UInt8Array, ...]:
    chosen = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
    return tuple(as_rgb(dataset.images[row]) for row in chosen)


def _spread(lengths: Counter[int]) -> Spread | None:
    if not lengths:
        return None
    ordered = sorted(lengths.items())
    middle = lengths.total()
    below, above = _at(ordered, (middle - 1) // 2), _at(ordered, middle // 2)
    return Spread(ordered[0][0], (below + above) / 2, ordered[-1][0])


def _at(ordered: Iterable[tuple[int, int]], place: int) -> int:
    """Return the length at a place in the sorted list of all lengths."""
    for length, count in ordered:
        if place < count:
            return length
        place -= count
    raise IndexError(place)
