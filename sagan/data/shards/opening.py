"""Opening a packed set in shards behind a URL."""

import hashlib
import math
from pathlib import Path

from sagan.data.packed import MANIFEST, MAX_MANIFEST_BYTES, Manifest, PackedDataset, parse_manifest
from sagan.data.shards.cache import CachedShards, fetch_checked
from sagan.data.shards.layout import MAX_HEADER_BYTES, ShardIndex
from sagan.data.shards.remote import RemoteFolder
from sagan.errors import SaganError, UnreadableError
from sagan.storage.files import cache_folder, sha256_of, write_bytes
from sagan.types import Progress

# Attributes are not larger, and labels are bounded by the number of images.
_MAX_ATTRIBUTES_BYTES = 64 * 1024**2


def read_remote_manifest(url: str) -> Manifest:
    """Read and check the pack.json of a set behind a URL.

    Raises:
        SaganError: it cannot be read, is damaged, or is not of a set in shards.
    """
    manifest, _, _ = _read_index(RemoteFolder(url))
    return manifest


def open_remote(
    url: str,
    *,
    streamed: bool,
    cache: Path | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> PackedDataset:
    """Open a set behind a URL: labels are fetched now, shards into a cache of bounded size.

    Args:
        url: of the folder that `sagan data pack --shards` has written.
        streamed: fetch shards when they are needed; otherwise all of them now, so that images can
            be read in any order.
        cache: the folder of the cache; by default `cache_folder("shards")`.
        limit: its size in bytes; by default `cache_limit()`.
        progress: called with images fetched, and images in all, unless it is streamed.

    Raises:
        SaganError: the set cannot be read, is damaged, or does not fit into the cache.
    """
    remote = RemoteFolder(url)
    manifest, index, text = _read_index(remote)
    # The index has the checksums of all content, so its own one identifies the set.
    folder = (cache or cache_folder("shards")) / hashlib.sha256(text).hexdigest()[:32]
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).read_bytes() != text:
        write_bytes(folder / MANIFEST, text)
    for name, checksum in index.files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != checksum:
            max_bytes = _MAX_ATTRIBUTES_BYTES + 8 * manifest.num_images
            fetch_checked(remote, path, checksum, max_bytes)
    max_bytes = min(index.images, manifest.num_images) * math.prod(manifest.shape)
    store = CachedShards(
        remote, folder, index.checksums, max_bytes + MAX_HEADER_BYTES, streamed=streamed,
        limit=limit,
    )  # fmt: skip
    dataset = PackedDataset.open(folder, store)
    if not streamed:

        def fetched(shards: int) -> None:
            if progress is not None:
                progress(min(shards * index.images, len(dataset)), len(dataset))

        store.fetch_all(fetched)
    return dataset


def _read_index(remote: RemoteFolder) -> tuple[Manifest, ShardIndex, bytes]:
    try:
        text = remote.read(MANIFEST, MAX_MANIFEST_BYTES)
        manifest = parse_manifest(remote.name, text.decode())
    except (UnreadableError, UnicodeDecodeError) as error:
        raise SaganError(
            f"cannot read a packed data set at '{remote.name}': {MANIFEST}: {error}; give the URL "
            "of a folder that 'sagan data pack --shards' has written"
        ) from None
    if manifest.shards is None:
        raise SaganError(
            f"the packed data set '{remote.name}' is not in shards: pack it with --shards, or "
            "download it"
        )
    return manifest, manifest.shards, text
