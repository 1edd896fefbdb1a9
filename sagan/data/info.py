"""What there is to know about a source before training on it."""

import contextlib
import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sagan.data.packed import PackedDataset, is_packed, read_manifest
from sagan.data.sources.base import Decoder, Source
from sagan.data.sources.open import open_source
from sagan.data.sources.tree import DEFAULT_SPLIT, NO_LABEL
from sagan.data.workers import map_pictures
from sagan.errors import UnreadableError
from sagan.images.decode import ImageFacts
from sagan.types import Progress, UInt8Array

THUMBNAIL_SIZE = 64
# A contact sheet has so many pictures of each class, or SHEET_ROWS times as many of a set without.
SHEET_COLUMNS = 12
SHEET_ROWS = 12


@dataclass(frozen=True)
class Spread:
    """The least, the median and the greatest of some lengths in pixels."""

    smallest: int
    median: float
    largest: int


@dataclass(frozen=True)
class DatasetInfo:
    """A source in numbers, for one split.

    num_images counts readable pictures; counts has them by class name, empty without labels;
    unlabeled sources have classes == (). widths, heights and short_sides are None where nothing is
    readable. modes and formats are Pillow's names with counts ("packed" for a packed set's).
    unreadable maps a file's name to the reason. num_copies is how many pictures' files (in a packed
    set: pixels) are the same as an earlier one's, and copies names some with the earlier one.
    thumbnails has some pictures of each class by name ("" without labels), each uint8
    (THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3). splits is empty where the source has none.
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

    @property
    def labeled(self) -> bool:
        """Whether every picture has a class."""
        return bool(self.classes)


@dataclass(frozen=True)
class _Look:
    """What one look at a picture tells."""

    facts: ImageFacts
    digest: bytes
    thumbnail: UInt8Array | None


def describe(
    source: str,
    *,
    split: str = DEFAULT_SPLIT,
    thumbnails: bool = False,
    progress: Progress | None = None,
) -> DatasetInfo:
    """Look at every picture of a source (anything that `open_dataset` takes), decoding it in full.

    thumbnails asks for some small pictures, for a contact sheet. progress is called with (pictures
    done, pictures in all or None).

    Raises:
        SaganError: the source cannot be used, has no pictures, or lacks the split. Unreadable
            pictures are no error here, however many.
    """
    path = Path(source).expanduser()
    if source != "openmoji" and is_packed(path):
        return _describe_packed(source, path, thumbnails)
    opened = open_source(source, split)
    survey = _Survey(opened.classes)
    work = partial(_look, examine=opened.examine, decode=opened.decode if thumbnails else None)
    results = map_pictures(work, opened.pictures(), opened.num_pictures)
    with contextlib.closing(results):
        for done, (picture, found) in enumerate(results, 1):
            if isinstance(found, UnreadableError):
                survey.unreadable[picture.name] = str(found)
            else:
                survey.add(picture.name, picture.label, found)
            if progress is not None:
                progress(done, opened.num_pictures)
    return survey.result(opened)


def _look(data: bytes, examine: Callable[[bytes], ImageFacts], decode: Decoder | None) -> _Look:
    facts = examine(data)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    thumbnail = None if decode is None else decode(data, THUMBNAIL_SIZE, "crop")
    return _Look(facts, digest, thumbnail)


class _Survey:
    """Counts looks at pictures; memory grows by some 200 bytes with each, for finding copies."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.unreadable: dict[str, str] = {}
        self._classes = classes
        self._labels: Counter[int] = Counter()
        self._widths: Counter[int] = Counter()
        self._heights: Counter[int] = Counter()
        self._short_sides: Counter[int] = Counter()
        self._modes: Counter[str] = Counter()
        self._formats: Counter[str] = Counter()
        self._first: dict[bytes, str] = {}
        self._copies: list[tuple[str, str]] = []
        self._num_copies = 0
        self._samples: defaultdict[int, list[tuple[bytes, str, UInt8Array]]] = defaultdict(list)

    def add(self, name: str, label: int, look: _Look) -> None:
        """Count a picture."""
        facts = look.facts
        self._labels[label] += 1
        self._widths[facts.width] += 1
        self._heights[facts.height] += 1
        self._short_sides[min(facts.width, facts.height)] += 1
        self._modes[facts.mode] += 1
        self._formats[facts.format] += 1
        first = self._first.setdefault(look.digest, name)
        if first != name:
            self._num_copies += 1
            if len(self._copies) < 1000:
                self._copies.append((name, first))
        elif look.thumbnail is not None:
            self._sample(label, look.digest, name, look.thumbnail)

    def _sample(self, label: int, digest: bytes, name: str, thumbnail: UInt8Array) -> None:
        """Keep the pictures with the greatest digests: a random choice, but always the same."""
        kept = self._samples[label]
        most = SHEET_COLUMNS * (SHEET_ROWS if label == NO_LABEL else 1)
        add = heapq.heappush if len(kept) < most else heapq.heappushpop
        add(kept, (digest, name, thumbnail))

    def result(self, source: Source) -> DatasetInfo:
        """All in all."""
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
                name: tuple(thumbnail for _, _, thumbnail in sorted(self._samples[label], key=_key))
                for label, name in labels.items()
                if self._samples[label]
            },
            notes=source.notes,
        )


def _key(sample: tuple[bytes, str, UInt8Array]) -> bytes:
    return sample[0]


def _describe_packed(source: str, path: Path, thumbnails: bool) -> DatasetInfo:
    manifest = read_manifest(path)
    side = Spread(manifest.size, manifest.size, manifest.size)
    return DatasetInfo(
        source=source,
        split=manifest.split,
        splits=(manifest.split,),
        num_images=manifest.num_images,
        classes=manifest.classes,
        counts=dict(zip(manifest.classes, manifest.counts, strict=True)),
        widths=side,
        heights=side,
        short_sides=side,
        modes={"RGB": manifest.num_images},
        formats={"packed": manifest.num_images},
        unreadable={file.name: file.reason for file in manifest.skipped},
        num_copies=manifest.num_copies,
        copies=tuple((name, group[0]) for group in manifest.duplicates for name in group[1:]),
        thumbnails=_packed_thumbnails(PackedDataset.open(path)) if thumbnails else {},
        notes=(f"packed from {manifest.source} with fit '{manifest.fit}'", *manifest.notes),
    )


def _packed_thumbnails(dataset: PackedDataset) -> dict[str, tuple[UInt8Array, ...]]:
    """Pictures spread evenly over each class, at the size that they have."""
    if dataset.labels is None:
        return {"": _spread_over(dataset, np.arange(len(dataset)), SHEET_COLUMNS * SHEET_ROWS)}
    return {
        name: _spread_over(dataset, np.flatnonzero(dataset.labels == label), SHEET_COLUMNS)
        for label, name in enumerate(dataset.classes)
        if (dataset.labels == label).any()
    }


def _spread_over(dataset: PackedDataset, rows: np.ndarray, most: int) -> tuple[UInt8Array, ...]:
    chosen = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
    return tuple(dataset.images[row] for row in chosen)


def _spread(lengths: Counter[int]) -> Spread | None:
    if not lengths:
        return None
    ordered = sorted(lengths.items())
    middle = lengths.total()
    below, above = _at(ordered, (middle - 1) // 2), _at(ordered, middle // 2)
    return Spread(ordered[0][0], (below + above) / 2, ordered[-1][0])


def _at(ordered: Iterable[tuple[int, int]], place: int) -> int:
    """The length at a place in the sorted list of all lengths."""
    for length, count in ordered:
        if place < count:
            return length
        place -= count
    raise IndexError(place)
