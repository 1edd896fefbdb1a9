"""Opening any data set for training, packing it into the user's cache first where needed."""

import hashlib
import shutil
from pathlib import Path

from sagan.data.packed import (
    FORMAT_VERSION,
    MANIFEST,
    Manifest,
    PackedDataset,
    is_packed,
    read_manifest,
)
from sagan.data.packing import pack
from sagan.data.shards.opening import open_remote, read_remote_manifest
from sagan.data.shards.remote import is_url
from sagan.data.sources.base import Source
from sagan.data.sources.names import split_of
from sagan.data.sources.open import is_built_in, open_source
from sagan.data.sources.tree import DEFAULT_SPLIT
from sagan.errors import SaganError, counted
from sagan.images.credits import short_credits
from sagan.images.decode import check_fit, check_shape
from sagan.images.shape import ImageShape, Resolution
from sagan.storage.files import cache_folder, expanded
from sagan.storage.staging import keep_first
from sagan.types import Notify, Progress

# Raise it whenever the same source would give other pixels, labels or credits: sets in the cache
# are then packed again, while those packed by hand stay as they are.
READING_VERSION = 5


def _silent(message: str) -> None:
    pass


def open_dataset(
    source: str,
    size: Resolution,
    *,
    colors: str = "rgb",
    fit: str = "crop",
    split: str | None = None,
    streamed: bool = False,
    cache: Path | None = None,
    notify: Notify = _silent,
    progress: Progress | None = None,
) -> PackedDataset:
    """Open a data set for training with images of one shape, packing it first if necessary.

    A packed set is used as it is. Anything else is packed into the cache once, under a name made of
    the source's listing (names, sizes, times of change), size, fit and split, and is found there
    the next time. Several processes may do so at once. The shards of a packed set behind a URL are
    fetched into a cache of their own.

    Args:
        source: a packed set, the URL of one in shards, or anything that `open_source` takes.
        size: as for `pack`.
        colors: as for `pack`.
        fit: "crop", "pad" or "stretch", as for `pack`; a packed set keeps the one that it has.
        split: which part of the source; None means "train", or the split of a packed set.
        streamed: fetch shards from a URL when they are needed, and not all of them now.
        cache: where to keep packed sets, by default `cache_folder("data")`.
        notify: called with one line for each thing that the user should know.
        progress: called with (images done, images in all or None) while packing or fetching.

    Raises:
        SaganError: as `pack` and `open_remote`, or the packed set has another size, colors or
            split.
    """
    shape, checked_fit = check_shape(size, colors), check_fit(fit)
    packed = _open_packed(source, streamed, progress)
    if packed is not None:
        _check_as_asked(packed, source, shape, split)
        _notify_credits(packed.credits, notify)
        return packed
    path = expanded(source)
    if is_built_in(source) and path.is_dir():
        notify(f"'{source}' is a built-in data set; for the folder of that name, write ./{source}")

    opened = open_source(source, split or DEFAULT_SPLIT)
    folder = (cache or cache_folder("data")) / _cache_name(opened, shape, checked_fit)
    dataset = _open_cached(folder, notify)
    if dataset is not None:
        # Its manifest has the notes; asking the source for them may read all labels.
        manifest = read_manifest(folder)
        for note in manifest.notes:
            notify(note)
        _notify_credits(dataset.credits, notify)
        notify(f"{counted(len(dataset), 'picture', 'pictures')} packed earlier in {folder}")
        _notify_findings(manifest, folder, notify)
        return dataset
    for note in opened.notes:
        notify(note)
    _notify_credits(opened.credits, notify)
    number = f"{opened.num_images:,} " if opened.num_images is not None else ""
    notify(f"packing {number}pictures at {shape} into {folder}")
    dataset = pack(
        opened, folder, size, fit=checked_fit, colors=colors, publish=keep_first, progress=progress
    )
    manifest = read_manifest(folder)
    for note in manifest.notes:
        if note not in opened.notes:  # seen only in the pixels
            notify(note)
    _notify_findings(manifest, folder, notify)
    return dataset


def _notify_credits(credits: str, notify: Notify) -> None:
    if credits:
        notify(f"credits: {short_credits(credits, f'in {MANIFEST}')}")


def _notify_findings(manifest: Manifest, folder: Path, notify: Notify) -> None:
    """Repeat them each time: files that were out of reach for a moment stay left out for good."""
    for line in manifest.findings():
        notify(line)
    if manifest.num_skipped:
        notify(f"if they can be read by now, delete {folder} to pack the set again")


def find_manifest(source: str) -> Manifest | None:
    """Return the manifest of a packed set in a folder or behind a URL, None for other sources.

    Raises:
        SaganError: it is damaged, or cannot be read.
    """
    if is_url(source):
        return read_remote_manifest(source)
    path = expanded(source)
    return read_manifest(path) if not is_built_in(source) and is_packed(path) else None


def _open_packed(source: str, streamed: bool, progress: Progress | None) -> PackedDataset | None:
    """Open a packed set in a folder or behind a URL; return None for other sources."""
    if is_url(source):
        return open_remote(source, streamed=streamed, progress=progress)
    path = expanded(source)
    return PackedDataset.open(path) if not is_built_in(source) and is_packed(path) else None


def _check_as_asked(
    dataset: PackedDataset, path: str, shape: ImageShape, split: str | None
) -> None:
    if dataset.size != shape.resolution:
        raise SaganError(
            f"the packed data set '{path}' has size {dataset.size}, not {shape.resolution}: choose "
            f"resolution {dataset.size}, or pack the source again with --size {shape.resolution}"
        )
    if dataset.shape != shape:
        raise SaganError(
            f"the packed data set '{path}' has {dataset.shape.colors} images, not {shape.colors}: "
            f"choose colors={dataset.shape.colors}, or pack the source again with --colors "
            f"{shape.colors}"
        )
    check_split(path, dataset.split, split)


def check_split(source: str, own: str, asked: str | None) -> None:
    """Check that a packed set has the split that is asked for.

    Args:
        source: the set, in the user's words.
        own: its split.
        asked: the one asked for; None takes what there is.

    Raises:
        SaganError: it has another one.
    """
    if asked is not None and own != asked and (split_of(own) or own) != split_of(asked):
        raise SaganError(
            f"the packed data set '{source}' contains the split '{own}', not '{asked}': "
            f"choose it with --split {own}"
        )


def _cache_name(source: Source, shape: ImageShape, fit: str) -> str:
    size = shape.resolution if shape.colors == "rgb" else f"{shape.resolution}-{shape.colors}"
    key = repr((FORMAT_VERSION, READING_VERSION, source.listing_digest(), size, fit, source.split))
    name = Path(source.name).resolve().stem  # resolved, since "." has no stem
    stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{stem[:40]}-{source.split}-{size}-{fit}-{digest[:16]}"


def _open_cached(folder: Path, notify: Notify) -> PackedDataset | None:
    if not folder.exists():
        return None
    try:
        return PackedDataset.open(folder)
    except SaganError as error:
        notify(str(error).replace("pack it again", "packing it again"))
        shutil.rmtree(folder, ignore_errors=True)
        return None
