"""Any source -> a packed set, in bounded memory, all or nothing."""

import contextlib
import math
import re
import shutil
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np

from sagan.data.attributes import ATTRIBUTES, AttributeTable
from sagan.data.chunks import DecodedChunk, decode_chunk
from sagan.data.duplicates import DuplicateFinder
from sagan.data.npy_files import map_images, synced, write_rows
from sagan.data.packed import (
    FORMAT_VERSION,
    IMAGES,
    LABELS,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Fingerprint,
    Manifest,
    PackedDataset,
)
from sagan.data.shards.layout import (
    MAX_SHARD_BYTES,
    ShardIndex,
    ShardLayout,
    SideFile,
    shard_images,
)
from sagan.data.shards.writing import write_shards
from sagan.data.skipped import SkippedFiles
from sagan.data.sources.base import Source, SourceImage
from sagan.data.workers import map_chunks
from sagan.errors import SaganError, counted, reason
from sagan.images.decode import Fit, check_fit, check_shape, decode
from sagan.images.depth import FULL_BITS, GrayRange
from sagan.images.shape import ImageShape, Resolution
from sagan.storage.files import sha256_of
from sagan.storage.staging import replace, staged
from sagan.types import ImageRows, Int64Array, Progress, UInt8Array

Publish = Callable[[Path, Path], None]
Decoded: TypeAlias = tuple[list[SourceImage], DecodedChunk]
ShardSums: TypeAlias = tuple[int, tuple[str, ...]]  # images in each shard, SHA-256 of each

# A few broken files are normal; more of them mean that something is wrong with the source.
MAX_UNREADABLE = 0.1
# In a source of unknown length, the share of unreadable images means nothing before this many.
_ENOUGH_TO_JUDGE = 1000
# Some images of one color are normal, too.
MANY_FLAT = 0.1
_NAMES = "names.tmp"
# Of the files of a packed set; of shards, as `shard_name` returns them.
_OWN_NAME = re.compile(
    "|".join([*map(re.escape, (MANIFEST, IMAGES, *get_args(SideFile))), r"images-\d{5,}\.npy"])
)


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
        shard_bytes: about how large to make the shards of a set in shards, at most 1 TB; None puts
            all images into one file. Images, labels and fingerprint are the same.
        publish: how the finished folder takes its name: `replace` or `keep_first`.
        progress: called with (images done, images in all) as they get done; the latter may be
            None, where only reading them all would show it.

    Raises:
        SaganError: an argument is out of range, the source is damaged, too many of its images are
            unreadable, `out` is something else, or the disk has too little room.
    """
    shape, checked_fit = check_shape(size, colors), check_fit(fit)
    check_numbers(max_unreadable, shard_bytes)
    check_replaceable(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with staged(out) as folder:
            check_room(source, out, shape, num_copies=1 if shard_bytes is None else 2)
            writer = SetWriter(source, folder, shape, checked_fit, max_unreadable)
            writer.write_images(progress)
            if writer.gray.bits < FULL_BITS:
                # Only all images together show the range that they use: once more, with it.
                writer = SetWriter(source, folder, shape, checked_fit, max_unreadable, writer.gray)
                writer.write_images(progress)
            writer.write_rest(shard_bytes, progress)
            publish(folder, out)
    except OSError as error:
        raise SaganError(f"cannot write the packed data set '{out}': {reason(error)}") from None
    return PackedDataset.open(out)


def check_numbers(max_unreadable: float, shard_bytes: int | None) -> None:
    """Check two arguments of `pack`.

    Raises:
        SaganError: one is out of range.
    """
    if not 0 <= max_unreadable <= 1:
        raise SaganError(f"the share of unreadable pictures {max_unreadable} is not in 0 to 1")
    if shard_bytes is not None and not 1 <= shard_bytes <= MAX_SHARD_BYTES:
        raise SaganError(
            f"shards of {shard_bytes} bytes are not from 1 byte to 1 TB: give another --shard-mb"
        )


def packed_bytes(num_images: int, shape: ImageShape) -> int:
    """Return the size of images.npy and labels.npy together for this many images."""
    return num_images * (math.prod(shape) + 8)


def check_replaceable(out: Path) -> None:
    """Check that a packed set may take this name.

    Raises:
        SaganError: it exists and is something else, or has other files in it.
    """
    found = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if out.is_dir() and not found:
        return
    if MANIFEST not in found and (out.exists() or out.is_symlink()):
        raise SaganError(
            f"'{out}' exists and is not a packed data set: choose another place or remove it"
        )
    if foreign := next((name for name in found if not _OWN_NAME.fullmatch(name)), None):
        raise SaganError(
            f"'{out / foreign}' is not of the packed data set, which would replace its folder: "
            "move it, or choose another place"
        )


def check_room(
    source: Source, out: Path, shape: ImageShape, num_copies: int, written: int = 0
) -> None:
    """Refuse at once a source that would fill the disk in an hour.

    Args:
        source: what is to be packed.
        out: where.
        shape: of the images.
        num_copies: how often they lie on the disk at a time.
        written: bytes of these copies that are there already.

    Raises:
        SaganError: the disk of `out` has too little room for the rest.
    """
    if source.num_images is None:
        return
    needed = num_copies * packed_bytes(source.num_images, shape) - written
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise SaganError(
            f"packing {source.num_images:,} pictures at {shape} takes {needed / 1e9:.1f} GB"
            f"{' more' if written else ''}, but the disk of '{out}' has only {free / 1e9:.1f} GB "
            "left: make room, or choose another place or a smaller size"
        )


def decoded_chunks(
    source: Source,
    images: Iterable[SourceImage],
    num_images: int | None,
    shape: ImageShape,
    fit: Fit,
    gray_bits: int = FULL_BITS,
) -> Generator[Decoded, None, None]:
    """Decode images of a source on all cores; yield chunks of them with their pixels, in order.

    Args:
        source: where they are from.
        images: all of the source, or some.
        num_images: how many; None if unknown.
        shape: of the decoded images.
        fit: how they get it.
        gray_bits: how many bits gray images of 16 bits use.
    """
    by_bits = gray_bits < FULL_BITS
    work = partial(
        decode_chunk,
        decode=partial(decode, gray_bits=gray_bits) if by_bits else source.decode,
        shape=shape,
        fit=fit,
        attributes=source.attributes,
    )
    return map_chunks(work, images, num_images, packed_bytes(1, shape))


class SetWriter:
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
        self._source = source
        self._folder = folder
        self._shape = shape
        self._fit: Fit = fit
        self._max_unreadable = max_unreadable
        self._labels = array("q")
        self._num = 0
        self._num_flat = 0
        self._attributes = AttributeTable()
        self._skipped = SkippedFiles(source.name)
        self._fingerprint = Fingerprint()
        self._duplicates = DuplicateFinder(folder / _NAMES)

    def write_images(self, progress: Progress | None) -> None:
        """Decode all images and write images.npy."""
        source = self._source
        chunks = decoded_chunks(
            source, source.images(), source.num_images, self._shape, self._fit, self.gray.bits
        )
        with (
            contextlib.closing(chunks),
            contextlib.closing(self.take(chunks, progress)) as taken,
            synced(self._folder / IMAGES) as file,
        ):
            write_rows(file, taken, self._shape)

    def write_rest(self, shard_bytes: int | None, progress: Progress | None) -> None:
        """Write labels.npy, attributes.json and pack.json, after `write_images`.

        Args:
            shard_bytes: replace images.npy by shards of about this size; None keeps it.
            progress: called while shards are written.
        """
        manifest = self.write_side_files(
            np.load(self._folder / IMAGES, mmap_mode="r", allow_pickle=False)
        )
        shards = None
        if shard_bytes is not None:
            shards = self._cut_into_shards(shard_bytes, progress)
        self.write_manifest(manifest, shards)

    def write_side_files(self, images: ImageRows) -> Manifest:
        """Write labels.npy and attributes.json; return the manifest.

        Args:
            images: all that were taken, in order.
        """
        labels = np.array(self._labels, dtype=np.int64) if self._source.classes else None
        if labels is not None:
            with synced(self._folder / LABELS) as file:
                np.save(file, labels, allow_pickle=False)
        if self._source.attributes is not None:
            with synced(self._folder / ATTRIBUTES) as file:
                file.write(self._attributes.to_json().encode())
        manifest = self._manifest(images, labels)
        (self._folder / _NAMES).unlink()
        return manifest

    def write_manifest(self, manifest: Manifest, checksums: ShardSums | None) -> None:
        """Write pack.json, which makes the set complete.

        Args:
            manifest: from `write_side_files`.
            checksums: of a set in shards: images in each, and SHA-256 of each.

        Raises:
            SaganError: it would be larger than what is read.
        """
        if checksums is not None:
            found = (name for name in get_args(SideFile) if (self._folder / name).exists())
            files = {name: sha256_of(self._folder / name) for name in found}
            shards = ShardIndex(images=checksums[0], checksums=checksums[1], files=files)
            manifest = manifest.model_copy(update={"shards": shards})
        content = manifest.model_dump_json(indent=1, exclude_none=True).encode()
        if len(content) > MAX_MANIFEST_BYTES:
            raise SaganError(
                f"{MANIFEST} of '{self._source.name}' would have {len(content) / 1e6:.1f} MB, more "
                "than is read: give a larger --shard-mb, or have fewer classes or shorter names"
            )
        with synced(self._folder / MANIFEST) as file:
            file.write(content)

    def _cut_into_shards(self, shard_bytes: int, progress: Progress | None) -> ShardSums:
        """Replace images.npy by shards.

        Their order depends on the number of images, which is known only now: that is why the set
        lies on the disk twice for a while.
        """
        layout = ShardLayout(self._num, shard_images(self._shape, shard_bytes))
        images = map_images(self._folder / IMAGES, (self._num, *self._shape))
        checksums = write_shards(images, self._folder, layout, progress)
        del images  # Windows cannot remove a file that is mapped
        (self._folder / IMAGES).unlink()
        return layout.per_shard, checksums

    def take(
        self, chunks: Iterable[Decoded], progress: Progress | None
    ) -> Generator[UInt8Array, None, None]:
        """Record decoded images; yield the readable ones, uint8 (n, H, W, C), a chunk at a time."""
        source, done = self._source, 0
        with contextlib.closing(self._duplicates):
            for images, chunk in chunks:
                done += len(images)
                for index, why in chunk.unreadable.items():
                    self._skipped.add(images[index].name, why)
                enough = source.num_images is not None or done > _ENOUGH_TO_JUDGE
                if chunk.unreadable and enough:
                    self._skipped.check(source.num_images or done, self._max_unreadable)
                readable = [image for n, image in enumerate(images) if n not in chunk.unreadable]
                self._labels.extend(image.label for image in readable)
                self._fingerprint.update(chunk.images)
                self._num_flat += chunk.num_flat
                self.gray += chunk.gray
                for attributes in chunk.attributes:
                    self._attributes.add(attributes)
                self._duplicates.add((image.name for image in readable), chunk.hashes)
                self._num += len(chunk.images)
                yield chunk.images
                if progress is not None:
                    progress(done, source.num_images)
        self._skipped.check(self._skipped.num + self._num, self._max_unreadable)
        if not self._num:
            raise SaganError(f"no pictures in '{source.name}'")

    def _manifest(self, images: ImageRows, labels: Int64Array | None) -> Manifest:
        source = self._source
        counts: tuple[int, ...] = ()
        if labels is not None:
            counts = tuple(np.bincount(labels, minlength=len(source.classes)).tolist())
        copies = self._duplicates.groups(images, labels)
        return Manifest(
            format_version=FORMAT_VERSION,
            source=source.name,
            split=source.split,
            fit=self._fit,
            size=self._shape.resolution,
            colors=self._shape.colors,
            num_images=self._num,
            classes=source.classes,
            counts=counts,
            skipped=tuple(self._skipped.named),
            more_skipped=self._skipped.num - len(self._skipped.named),
            num_copies=copies.num,
            duplicates=copies.named,
            credits=source.credits,
            notes=(*source.notes, *self._notes(self._num, counts, copies.num_contradicting)),
            fingerprint=self._fingerprint.close((self._num, *self._shape), labels, source.classes),
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
