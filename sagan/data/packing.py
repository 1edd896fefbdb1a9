"""Any source -> a packed set, in bounded memory, all or nothing."""

import contextlib
import math
import shutil
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from sagan.data.attributes import ATTRIBUTES, AttributeTable
from sagan.data.chunks import decode_chunk
from sagan.data.duplicates import DuplicateFinder
from sagan.data.npy_files import map_images, synced, write_rows
from sagan.data.packed import (
    FORMAT_VERSION,
    IMAGES,
    LABELS,
    MANIFEST,
    Fingerprint,
    Manifest,
    PackedDataset,
    SkippedFile,
)
from sagan.data.shards.layout import ShardIndex, ShardLayout, SideFile, shard_images
from sagan.data.shards.writing import write_shards
from sagan.data.sources.base import Decoder, Source
from sagan.data.workers import map_chunks
from sagan.errors import SaganError, counted, reason
from sagan.images.decode import Fit, check_fit, check_shape, decode
from sagan.images.depth import FULL_BITS, GrayRange
from sagan.images.shape import ImageShape, Resolution
from sagan.storage.files import sha256_of
from sagan.storage.staging import replace, staged
from sagan.types import Int64Array, Progress, UInt8Array

Publish = Callable[[Path, Path], None]

# A few broken files are normal; more of them mean that something is wrong with the source.
MAX_UNREADABLE = 0.1
# In a source of unknown length, the share of unreadable images means nothing before this many.
_ENOUGH_TO_JUDGE = 1000
# Some images of one color are normal, too.
MANY_FLAT = 0.1
_NAMES = "names.tmp"


def pack(
    source: Source,
    out: Path,
    size: Resolution,
    *,
    fit: str = "crop",
    colors: str = "rgb",
    max_unreadable: float = MAX_UNREADABLE,
    shard_bytes: int | None = None,
    publish: Publish = replace,
    progress: Progress | None = None,
) -> PackedDataset:
    """Decode every image of a source once, and save them all as a packed set in the folder `out`.

    Unreadable files are skipped and listed in pack.json with the reason. Copies of an earlier image
    are listed, too, but kept. Everything is written to a hidden folder beside `out`, which takes
    that name when it is complete: whatever happens, `out` is a whole packed set, or what it was
    before. An existing packed set is replaced.

    Args:
        source: an open source; its own split is packed.
        out: the folder to make; missing parent folders are made.
        size: side of the images in pixels, 1 to 4096, or "96x64" for 96 across and 64 down.
        fit: "crop" to the largest centered part with these proportions, "pad" with white, or
            "stretch".
        colors: "rgb", "gray", or "rgba" to keep transparency, which is then not laid over white.
        max_unreadable: the share of unreadable images, 0 to 1, above which to stop.
        shard_bytes: about how large to make the shards of a set in shards, 1 or more; None puts all
            images into one file. Images, labels and fingerprint are the same.
        publish: how the finished folder takes its name: `replace` or `keep_first`.
        progress: called with (images done, images in all) as they get done; the latter may be
            None, where only reading them all would show it.

    Raises:
        SaganError: an argument is out of range, the source is damaged, too many of its images are
            unreadable, `out` is something else, or the disk has too little room.
    """
    shape, checked_fit = check_shape(size, colors), check_fit(fit)
    if not 0 <= max_unreadable <= 1:
        raise SaganError(f"the share of unreadable pictures {max_unreadable} is not in 0 to 1")
    if shard_bytes is not None and shard_bytes < 1:
        raise SaganError(f"shards of {shard_bytes} bytes are too small: give a larger --shard-mb")
    _check_replaceable(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with staged(out) as folder:
            _check_room(source, out, shape, num_copies=1 if shard_bytes is None else 2)
            writer = _SetWriter(source, folder, shape, checked_fit, max_unreadable)
            writer.write_images(progress)
            if writer.gray.bits < FULL_BITS:
                # Only all images together show the range that they use: once more, with it.
                writer = _SetWriter(source, folder, shape, checked_fit, max_unreadable, writer.gray)
                writer.write_images(progress)
            writer.write_rest(shard_bytes, progress)
            publish(folder, out)
    except OSError as error:
        raise SaganError(f"cannot write the packed data set '{out}': {reason(error)}") from None
    return PackedDataset.open(out)


def packed_bytes(num_images: int, shape: ImageShape) -> int:
    """Return the size of images.npy and labels.npy together for this many images."""
    return num_images * (math.prod(shape) + 8)


def _check_replaceable(out: Path) -> None:
    if out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir())):
        return
    if out.exists() or out.is_symlink():
        raise SaganError(
            f"'{out}' exists and is not a packed data set: choose another place or remove it"
        )


def _check_room(source: Source, out: Path, shape: ImageShape, num_copies: int) -> None:
    """Refuse at once a source that would fill the disk in an hour."""
    if source.num_images is None:
        return
    needed = num_copies * packed_bytes(source.num_images, shape)
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise SaganError(
            f"packing {source.num_images:,} pictures at {shape} takes "
            f"{needed / 1e9:.1f} GB, but the disk of '{out}' has only {free / 1e9:.1f} GB left: "
            "make room, or choose another place or a smaller size"
        )


class _SetWriter:
    """Writes one packed set into an empty folder."""

    def __init__(
        self,
        source: Source,
        folder: Path,
        shape: ImageShape,
        fit: Fit,
        max_unreadable: float,
        gray: GrayRange | None = None,
    ) -> None:
        self.gray = gray or GrayRange()
        self._decode: Decoder = source.decode
        if gray is not None:
            self._decode = partial(decode, gray_bits=gray.bits)
        self._source = source
        self._folder = folder
        self._shape = shape
        self._fit: Fit = fit
        self._max_unreadable = max_unreadable
        self._labels = array("q")
        self._num = 0
        self._num_flat = 0
        self._attributes = AttributeTable()
        self._skipped: list[SkippedFile] = []
        self._fingerprint = Fingerprint()
        self._duplicates = DuplicateFinder(folder / _NAMES)

    def write_images(self, progress: Progress | None) -> None:
        """Write images.npy."""
        with contextlib.closing(self._duplicates), synced(self._folder / IMAGES) as file:
            self._num = write_rows(file, self._images(progress), self._shape)
        self._check_unreadable(len(self._skipped) + self._num)
        if not self._num:
            raise SaganError(f"no pictures in '{self._source.name}'")

    def write_rest(self, shard_bytes: int | None, progress: Progress | None) -> None:
        """Write labels.npy, attributes.json and pack.json, after `write_images`.

        Args:
            shard_bytes: replace images.npy by shards of about this size; None keeps it.
            progress: called while shards are written.
        """
        labels = np.array(self._labels, dtype=np.int64) if self._source.classes else None
        if labels is not None:
            with synced(self._folder / LABELS) as file:
                np.save(file, labels, allow_pickle=False)
        if self._source.attributes is not None:
            with synced(self._folder / ATTRIBUTES) as file:
                file.write(self._attributes.to_json().encode())
        manifest = self._manifest((self._num, *self._shape), labels)
        (self._folder / _NAMES).unlink()
        if shard_bytes is not None:
            shards = self._cut_into_shards(shard_bytes, progress)
            manifest = manifest.model_copy(update={"shards": shards})
        with synced(self._folder / MANIFEST) as file:
            file.write(manifest.model_dump_json(indent=1, exclude_none=True).encode())

    def _cut_into_shards(self, shard_bytes: int, progress: Progress | None) -> ShardIndex:
        """Replace images.npy by shards.

        Their order depends on the number of images, which is known only now: that is why the set
        lies on the disk twice for a while.
        """
        layout = ShardLayout(self._num, shard_images(self._shape, shard_bytes))
        images = map_images(self._folder / IMAGES, (self._num, *self._shape))
        checksums = write_shards(images, self._folder, layout, progress)
        del images  # Windows cannot remove a file that is mapped
        (self._folder / IMAGES).unlink()
        found = (name for name in get_args(SideFile) if (self._folder / name).exists())
        files = {name: sha256_of(self._folder / name) for name in found}
        return ShardIndex(images=layout.per_shard, checksums=checksums, files=files)

    def _images(self, progress: Progress | None) -> Iterator[UInt8Array]:
        """Yield the readable images, uint8 (n, H, W, C), a chunk at a time."""
        source = self._source
        work = partial(
            decode_chunk,
            decode=self._decode,
            shape=self._shape,
            fit=self._fit,
            attributes=source.attributes,
        )
        chunks = map_chunks(work, source.images(), source.num_images, packed_bytes(1, self._shape))
        done = 0
        with contextlib.closing(chunks):
            for images, chunk in chunks:
                done += len(images)
                for index, why in chunk.unreadable.items():
                    self._skipped.append(SkippedFile(name=images[index].name, reason=why))
                enough = source.num_images is not None or done > _ENOUGH_TO_JUDGE
                if chunk.unreadable and enough:
                    self._check_unreadable(source.num_images or done)
                readable = [image for n, image in enumerate(images) if n not in chunk.unreadable]
                self._labels.extend(image.label for image in readable)
                self._fingerprint.update(chunk.images)
                self._num_flat += chunk.num_flat
                self.gray += chunk.gray
                for attributes in chunk.attributes:
                    self._attributes.add(attributes)
                self._duplicates.add((image.name for image in readable), chunk.hashes)
                yield chunk.images
                if progress is not None:
                    progress(done, source.num_images)

    def _check_unreadable(self, num_images: int) -> None:
        if len(self._skipped) > self._max_unreadable * num_images:
            first = self._skipped[0]
            raise SaganError(
                f"too many unreadable pictures in '{self._source.name}': {len(self._skipped)} of "
                f"{num_images} so far, such as '{first.name}' ({first.reason}); repair or remove "
                "them, or allow more with --max-unreadable"
            )

    def _manifest(self, shape: tuple[int, ...], labels: Int64Array | None) -> Manifest:
        source = self._source
        counts: tuple[int, ...] = ()
        if labels is not None:
            counts = tuple(np.bincount(labels, minlength=len(source.classes)).tolist())
        copies = self._duplicates.groups(
            np.load(self._folder / IMAGES, mmap_mode="r", allow_pickle=False), labels
        )
        return Manifest(
            format_version=FORMAT_VERSION,
            source=source.name,
            split=source.split,
            fit=self._fit,
            size=self._shape.resolution,
            colors=self._shape.colors,
            num_images=shape[0],
            classes=source.classes,
            counts=counts,
            skipped=tuple(self._skipped),
            num_copies=copies.num,
            duplicates=copies.named,
            credits=source.credits,
            notes=(*source.notes, *self._notes(shape[0], counts, copies.num_contradicting)),
            fingerprint=self._fingerprint.close(shape, labels, source.classes),
        )

    def _notes(self, num: int, counts: tuple[int, ...], num_contradicting: int) -> Iterator[str]:
        """Yield what only the packed pixels and labels show."""
        classes = self._source.classes
        if empty := [name for name, count in zip(classes, counts, strict=True) if not count]:
            shown = ", ".join(f"'{name}'" for name in empty[:5]) + (" ..." if empty[5:] else "")
            yield f"{len(empty):,} of {len(classes):,} classes have no pictures here: {shown}"
        if num_contradicting:
            copies = counted(
                num_contradicting, "picture is a copy of another", "pictures are copies of others"
            )
            yield f"{copies} with another label: see duplicates in {MANIFEST}"
        if self.gray.note:
            yield self.gray.note
        if self._num_flat > MANY_FLAT * num:
            yield (
                f"{self._num_flat:,} of {num:,} pictures are nearly of one color; look at some "
                "with 'sagan data info --sheet': dark samples in 16-bit files become black, and "
                "white on transparency is laid over white"
            )
