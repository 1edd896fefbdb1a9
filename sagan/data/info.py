"""What there is to know about a source before training on it."""

import contextlib
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sagan.data.decode import PictureFacts, UnreadableError
from sagan.data.layout import DEFAULT_SPLIT
from sagan.data.packed import Manifest, is_packed, read_manifest
from sagan.data.packing import Progress
from sagan.data.sources import open_source
from sagan.data.workers import map_pictures


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
    unlabelled sources have classes == (). widths and heights are None where nothing is readable.
    modes and formats are Pillow's names with counts ("packed" for a packed set's). unreadable maps
    a file's name to the reason. splits is empty where the source has none.
    """

    source: str
    split: str
    splits: tuple[str, ...]
    num_images: int
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    widths: Spread | None
    heights: Spread | None
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    unreadable: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def labelled(self) -> bool:
        """Whether every picture has a class."""
        return bool(self.classes)


def describe(
    source: str, *, split: str = DEFAULT_SPLIT, progress: Progress | None = None
) -> DatasetInfo:
    """Look at every picture of a source (anything that `open_dataset` takes), decoding it in full.

    progress is called with (pictures done, pictures in all).

    Raises:
        SaganError: the source cannot be used, has no pictures, or lacks the split. Unreadable
            pictures are no error here, however many.
    """
    path = Path(source).expanduser()
    if source != "openmoji" and is_packed(path):
        return _describe_packed(source, read_manifest(path))
    opened = open_source(source, split)
    facts: list[PictureFacts] = []
    labels: Counter[int] = Counter()
    unreadable: dict[str, str] = {}
    results = map_pictures(opened.examine, opened.pictures(), len(opened))
    with contextlib.closing(results):
        for done, (picture, found) in enumerate(results, 1):
            if isinstance(found, UnreadableError):
                unreadable[picture.name] = str(found)
            else:
                facts.append(found)
                labels[picture.label] += 1
            if progress is not None:
                progress(done, len(opened))
    return DatasetInfo(
        source=opened.name,
        split=opened.split,
        splits=opened.splits,
        num_images=len(facts),
        classes=opened.classes,
        counts={name: labels[label] for label, name in enumerate(opened.classes)},
        widths=_spread([fact.width for fact in facts]),
        heights=_spread([fact.height for fact in facts]),
        modes=dict(Counter(fact.mode for fact in facts).most_common()),
        formats=dict(Counter(fact.format for fact in facts).most_common()),
        unreadable=unreadable,
        notes=opened.notes,
    )


def _describe_packed(source: str, manifest: Manifest) -> DatasetInfo:
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
        modes={"RGB": manifest.num_images},
        formats={"packed": manifest.num_images},
        unreadable={file.name: file.reason for file in manifest.skipped},
        notes=(f"packed from {manifest.source} with fit '{manifest.fit}'", *manifest.notes),
    )


def _spread(lengths: list[int]) -> Spread | None:
    if not lengths:
        return None
    return Spread(min(lengths), statistics.median(lengths), max(lengths))
