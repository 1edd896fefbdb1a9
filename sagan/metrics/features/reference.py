"""Features of real images, cached between evaluations."""

import hashlib
import json
from pathlib import Path

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from sagan.data import PackedDataset
from sagan.data.packed import fingerprint_of
from sagan.errors import SaganError, reason
from sagan.metrics.features.extraction import (
    FEATURES,
    extract,
    map_array,
    no_progress,
)
from sagan.metrics.features.network import FeatureNetwork
from sagan.runtime.watch import waiting_for
from sagan.storage.files import cache_folder
from sagan.storage.staging import discard, keep_first, staged
from sagan.types import Float32Array, Int64Array, NamedProgress

# Part of the name in the cache: raise it whenever the same images give other features.
CACHE_VERSION = 1


def reference_features(
    dataset: PackedDataset,
    network: FeatureNetwork,
    processes: PartialState,
    rows: Int64Array | None = None,
    progress: NamedProgress = no_progress,
) -> Float32Array | None:
    """Return features of a data set's images, from the cache if it has them.

    Every process calls this.

    Args:
        dataset: the images.
        network: on the processes' device.
        processes: the processes that extract what the cache does not have.
        rows: numbers of the images, int64 (N,); all images by default.
        progress: called in the main process.

    Returns:
        float32 (N, D), mapped into memory, in the main process; None in the others.

    Raises:
        SaganError: the cache cannot be written, or the images do not have the data set's
            fingerprint, which is checked when features of all images are extracted.
    """
    whole = rows is None
    rows = rows if rows is not None else np.arange(len(dataset))
    folder = cache_folder("metrics") / _name(dataset, network, rows)
    shape = (len(rows), network.width)
    known = [_open_cached(folder, shape) is not None if processes.is_main_process else None]
    with waiting_for("the main process to look for features"):
        broadcast_object_list(known)
    try:
        if not known[0]:
            if whole:
                _check_images(dataset, processes)
            _extract(dataset, network, processes, rows, folder, progress)
    except OSError as error:
        raise SaganError(f"cannot write features to '{folder}': {reason(error)}") from None
    if not processes.is_main_process:
        return None
    features = _open_cached(folder, shape)
    if features is None:
        raise SaganError(f"features that were just written to '{folder}' cannot be read again")
    return features


def _check_images(dataset: PackedDataset, processes: PartialState) -> None:
    """Check that the images have the fingerprint under which their features will be cached."""
    sound = [not processes.is_main_process or fingerprint_of(dataset) == dataset.fingerprint]
    with waiting_for("the main process to check the images"):
        broadcast_object_list(sound)
    if not sound[0]:
        raise SaganError(
            f"the packed data set '{dataset.path}' is damaged: its images have changed since it "
            "was packed; pack it again"
        )


def _extract(
    dataset: PackedDataset,
    network: FeatureNetwork,
    processes: PartialState,
    rows: Int64Array,
    folder: Path,
    progress: NamedProgress,
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with staged(folder) as temporary:  # each process has its own; only the main process keeps it
        extract(
            network, lambda start, stop: dataset.images[rows[start:stop]], len(rows), temporary,
            processes, f"features of {dataset.source} ({dataset.split})", progress,
        )  # fmt: skip
        if processes.is_main_process:
            keep_first(temporary, folder)
            if _open_cached(folder, (len(rows), network.width)) is None:
                # What was kept first is damaged.
                discard(folder)
                keep_first(temporary, folder)


def _name(dataset: PackedDataset, network: FeatureNetwork, rows: Int64Array) -> str:
    """Return a name made of everything that decides the features."""
    key = [CACHE_VERSION, dataset.fingerprint, network.protocol(), rows.tolist()]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return f"{network.name}-{dataset.fingerprint[:8]}-{digest[:16]}"


def _open_cached(folder: Path, shape: tuple[int, int]) -> Float32Array | None:
    try:
        return map_array(folder / FEATURES, *shape)
    except (OSError, ValueError):
        return None
