"""The packed set that training reads: a folder with images.npy, labels.npy and pack.json.

In the place of images.npy it may have shards, images-00000.npy and so on.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from sagan.data.npy_files import damaged, map_images, map_npy
from sagan.data.shards.images import ChosenImages, LocalShards, ShardedImages, ShardStore
from sagan.data.shards.layout import ShardIndex, ShardLayout
from sagan.data.skipped import SkippedFile
from sagan.errors import SaganError, UnreadableError, counted, first_problem
from sagan.images.credits import checked_credits
from sagan.images.decode import Fit
from sagan.images.shape import Colors, ImageShape, Resolution
from sagan.runtime.memory import check_memory
from sagan.storage.files import read_file
from sagan.types import ImageRows, Int64Array, UInt8Array

MAX_MANIFEST_BYTES = 8 * 1024**2
IMAGES, LABELS, MANIFEST = "images.npy", "labels.npy", "pack.json"
# Of the files. How sources are read has a version of its own: `cache.READING_VERSION`.
FORMAT_VERSION = 1


# At the first mistake, for a list may have a million.
Names: TypeAlias = Annotated[tuple[str, ...], FailFast()]


class Manifest(BaseModel):
    """The content of pack.json.

    Attributes:
        counts: images of each class; empty without labels.
        skipped: files that were left out, the first of them.
        more_skipped: how many more were left out.
        num_copies: how many images are the same, pixel for pixel, as an earlier one.
        duplicates: names of some, in groups of equal images.
        notes: decisions about the source that the user should know of.
        credits: who made the images, in lines of text; "" if unknown.
        fingerprint: sha256 hex over images, labels and classes.
        shards: what a set in shards has in the place of images.npy.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    format_version: int
    source: str
    split: str
    fit: Fit
    size: Annotated[int, Field(ge=1)] | str  # "96x64" if not square
    colors: Colors = "rgb"  # missing from 0.1.0's first sets
    num_images: int = Field(ge=1)
    classes: Names
    counts: Annotated[tuple[int, ...], FailFast()]
    skipped: Annotated[tuple[SkippedFile, ...], FailFast()]
    more_skipped: int = Field(default=0, ge=0)  # missing from 0.1.0's first sets
    num_copies: int = Field(default=0, ge=0)  # missing from 0.1.0's first sets
    duplicates: Annotated[tuple[Names, ...], FailFast()] = ()
    notes: Names
    credits: str = ""  # missing from 0.1.0's first sets
    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")
    shards: ShardIndex | None = None

    @property
    def shape(self) -> ImageShape:
        """The shape of each image, (H, W, C)."""
        return ImageShape.of(self.size, self.colors)

    @property
    def num_skipped(self) -> int:
        """How many files were left out."""
        return len(self.skipped) + self.more_skipped

    def findings(self) -> Iterator[str]:
        """Yield what packing found that the user should know, one line each."""
        if self.num_skipped:
            first = f"the first {len(self.skipped):,}" if self.more_skipped else "them"
            yield counted(
                self.num_skipped,
                f"unreadable file is left out: {MANIFEST} names it",
                f"unreadable files are left out: {MANIFEST} names {first}",
            )
        if self.num_copies:
            copies = counted(
                self.num_copies, "picture is a copy of another", "pictures are copies of others"
            )
            yield f"{copies}: see duplicates in {MANIFEST}"


@dataclass(frozen=True, eq=False)
class PackedDataset:
    """A data set ready for training.

    Attributes:
        images: uint8 (N, H, W, C), in 0..255, memory-mapped and read-only; of a set in shards,
            an object that gives such arrays when it is indexed.
        labels: int64 (N,) in 0..K-1, or None.
        classes: K names, empty without labels.
        fingerprint: sha256 hex over images, labels and classes, computed when it was packed.
        path: its folder.
        source: what it was packed from, in the user's words.
        split: which part of the source.
        fit: how its images got their proportions.
        credits: who made the images, in lines of text; "" if unknown.
    """

    images: ImageRows
    labels: Int64Array | None
    classes: tuple[str, ...]
    fingerprint: str
    path: Path
    source: str
    split: str
    fit: Fit
    credits: str = ""

    @property
    def shape(self) -> ImageShape:
        """The shape of each image, (H, W, C)."""
        return ImageShape(*self.images.shape[1:])

    @property
    def size(self) -> Resolution:
        """The side of square images in pixels, else their width and height, such as "96x64"."""
        return self.shape.resolution

    @property
    def num_classes(self) -> int:
        """K, or 0 without labels."""
        return len(self.classes)

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def open(cls, path: Path, store: ShardStore | None = None) -> "PackedDataset":
        """Check that a packed set's parts are whole and fit together, and map it into memory.

        The fingerprint is the one in pack.json; `fingerprint_of` computes it from the content.

        Args:
            path: its folder.
            store: where the shards of a set in shards come from; by default its folder.

        Raises:
            SaganError: it is not a packed set, is damaged, or has another version.
        """
        manifest = read_manifest(path)
        images: ImageRows
        if manifest.shards is None:
            images = map_images(path / IMAGES, (manifest.num_images, *manifest.shape))
        else:
            images = _open_shards(path, manifest, manifest.shards, store)
        labels = _open_labels(path, manifest)
        return cls(
            images, labels, manifest.classes, manifest.fingerprint, path, manifest.source,
            manifest.split, manifest.fit, checked_credits(manifest.credits),
        )  # fmt: skip

    def read_ahead(self, shards: Sequence[int]) -> None:
        """Say which shards are needed next, in which order; without shards, it does not matter.

        Raises:
            SaganError: they do not fit into the cache.
        """
        if isinstance(self.images, ShardedImages) and shards:
            self.images.expect(shards)

    def at_hand(self, num: int) -> "PackedDataset":
        """Return a set to take a few images from, spread over it: this one, unless it is streamed.

        Images spread over a streamed set lie in many shards, and each would be fetched for a few
        of them. Its first shards are a random sample of the set, too.

        Args:
            num: how many images there should be, if the set has as many.
        """
        if not isinstance(self.images, ShardedImages) or not self.images.store.streamed:
            return self
        rows = self.images.layout.stored[:num]
        return replace(
            self,
            images=ChosenImages(self.images, rows),
            labels=self.labels[rows] if self.labels is not None else None,
            fingerprint=hashlib.sha256(f"{num} of {self.fingerprint}".encode()).hexdigest(),
        )


def is_packed(path: Path) -> bool:
    """Whether a folder claims to be a packed set; `PackedDataset.open` checks the claim.

    A link or a folder of that name claims it, too: opening refuses them, where reading the folder
    as a collection of images would follow them.
    """
    return os.path.lexists(path / MANIFEST)


def read_manifest(path: Path) -> Manifest:
    """Read and check a packed set's pack.json.

    Raises:
        SaganError: it is missing, damaged, or has another version.
    """
    if not is_packed(path):
        raise SaganError(
            f"'{path}' is not a packed data set: it has no {MANIFEST}; make one with "
            "'sagan data pack'"
        )
    try:
        text = read_file(path / MANIFEST, MAX_MANIFEST_BYTES, follow_links=False).decode()
    except (UnreadableError, UnicodeDecodeError) as error:
        raise damaged(path, f"{MANIFEST} cannot be read: {error}") from None
    return parse_manifest(path, text)


def parse_manifest(path: Path | str, text: str) -> Manifest:
    """Check the content of a packed set's pack.json.

    Args:
        path: the set's folder or URL, for messages.
        text: the content.

    Raises:
        SaganError: it is damaged, or has another version.
    """
    _check_fields(path, text)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise damaged(path, f"{MANIFEST}, {first_problem(error)}") from None
    try:
        if manifest.shape.resolution != manifest.size:
            raise ValueError(f"{manifest.size!r} must be written as {manifest.shape.resolution!r}")
    except ValueError as error:
        raise damaged(path, f"{MANIFEST}, size: {error}") from None
    if len(manifest.counts) != len(manifest.classes):
        raise damaged(path, f"{MANIFEST} does not have one count for each class")
    if manifest.shards is not None:
        _check_shards(path, manifest, manifest.shards)
    return manifest


def _check_shards(path: Path | str, manifest: Manifest, shards: ShardIndex) -> None:
    if len(shards.checksums) != -(-manifest.num_images // shards.images):
        raise damaged(path, f"{MANIFEST} does not have one checksum for each shard")
    if (LABELS in shards.files) != bool(manifest.classes):
        raise damaged(path, f"{MANIFEST} has a checksum of {LABELS}, or classes, but not both")
    # Labels, and twice the order of the images; sorting them takes as much again.
    check_memory(5 * 8 * manifest.num_images, str(path), "the order of its images")


def _check_fields(path: Path | str, text: str) -> None:
    """Check version and names of fields, as an error of pydantic lists all mistakes at length."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"{MANIFEST} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise damaged(path, f"{MANIFEST} is not an object")
    version = content.get("format_version")
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise SaganError(
            f"the packed data set '{path}' has format version {version}, but this sagan reads "
            f"version {FORMAT_VERSION}: pack it again"
        )
    if unknown := content.keys() - Manifest.model_fields.keys():
        raise damaged(path, f"{MANIFEST} has an unknown entry {min(unknown)[:100]!r}")


def _open_shards(
    path: Path, manifest: Manifest, index: ShardIndex, store: ShardStore | None
) -> ShardedImages:
    layout = ShardLayout(manifest.num_images, index.images)
    if store is None:
        store = LocalShards(path)
        store.check_sizes(layout, manifest.shape)
    return ShardedImages(store, layout, manifest.shape)


def _open_labels(path: Path, manifest: Manifest) -> Int64Array | None:
    if not manifest.classes:
        if (path / LABELS).exists():
            raise damaged(path, f"there is a {LABELS}, but {MANIFEST} names no classes")
        return None
    mapped = map_npy(path / LABELS)
    if mapped.dtype != np.int64 or mapped.shape != (manifest.num_images,):
        raise damaged(
            path, f"{LABELS} is {mapped.dtype} {mapped.shape}, not int64 ({manifest.num_images},)"
        )
    labels = np.array(mapped, dtype=np.int64)
    num_classes = len(manifest.classes)
    if labels.min() < 0 or labels.max() >= num_classes:
        raise damaged(path, f"{LABELS} has labels outside 0 to {num_classes - 1}")
    if tuple(np.bincount(labels, minlength=num_classes).tolist()) != manifest.counts:
        raise damaged(path, f"{LABELS} does not agree with the counts in {MANIFEST}")
    labels.flags.writeable = False
    return labels


class Fingerprint:
    """Sha256 over a packed set's content: images in pieces, then shape, classes and labels."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, images: UInt8Array) -> None:
        """Add the next images, uint8 (n, H, W, C)."""
        self._digest.update(np.ascontiguousarray(images).data)

    def close(
        self, shape: Sequence[int], labels: Int64Array | None, classes: tuple[str, ...]
    ) -> str:
        """Add the shape of all images (N, H, W, C), classes and labels; return 64 hex digits."""
        self._digest.update(json.dumps([list(shape), list(classes)]).encode())
        if labels is not None:
            self._digest.update(labels.astype("<i8").tobytes())
        return self._digest.hexdigest()


def fingerprint_of(dataset: PackedDataset) -> str:
    """Compute a data set's fingerprint by reading every pixel, in bounded memory."""
    fingerprint = Fingerprint()
    for start in range(0, len(dataset), 1024):
        fingerprint.update(dataset.images[start : start + 1024])
    return fingerprint.close(dataset.images.shape, dataset.labels, dataset.classes)
