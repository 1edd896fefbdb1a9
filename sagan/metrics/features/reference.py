"""Features of real pictures, kept in the cache from one evaluation to the next."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from sagan.data import PackedDataset
from sagan.data.packed import fingerprint_of
from sagan.errors import SaganError
from sagan.metrics.features.extraction import FEATURES, extract, map_array, silent
from sagan.metrics.features.network import FeatureNetwork
from sagan.storage.files import cache_folder
from sagan.storage.fsync import reason
from sagan.storage.staging import keep_first, staged
from sagan.types import Float32Array, NamedProgress

# Part of the name in the cache: raise it whenever the same pictures give other features.
VERSION = 1


def reference_features(
    dataset: PackedDataset,
    network: FeatureNetwork,
    processes: PartialState,
    rows: npt.NDArray[np.int64] | None = None,
    progress: NamedProgress = silent,
) -> Float32Array | None:
    """Features of a data set's pictures, from the cache if they are there; every process calls it.

    Args:
        dataset: the pictures.
        network: on the processes' device.
        processes: who takes part in extracting what is not there.
        rows: of which pictures, int64 (N,); of all by default.
        progress: called in the main process.

    Returns:
        float32 (N, D), mapped into memory, in the main process; None in the others.

    Raises:
        SaganError: the cache cannot be written, or the pictures are not those that the data set's
            fingerprint is of, which is looked at when features of all are extracted.
    """
    whole = rows is None
    rows = np.arange(len(dataset)) if rows is None else rows
    folder = cache_folder("metrics") / _name(dataset, network, rows)
    shape = (len(rows), network.width)
    known = [_open_cached(folder, shape) is not None if processes.is_main_process else None]
    broadcast_object_list(known)
    try:
        if not known[0]:
            if whole:
                _check_pictures(dataset, processes)
            _extract(dataset, network, processes, rows, folder, progress)
    except OSError as error:
        raise SaganError(f"cannot keep features in {folder}: {reason(error)}") from None
    if not processes.is_main_process:
        return None
    features = _open_cached(folder, shape)
    if features is None:
        raise SaganError(f"features that were just written to {folder} cannot be read again")
    return features


def _check_pictures(dataset: PackedDataset, processes: PartialState) -> None:
    """Keep features under the fingerprint of no other pictures than theirs."""
    sound = [not processes.is_main_process or fingerprint_of(dataset) == dataset.fingerprint]
    broadcast_object_list(sound)
    if not sound[0]:
        raise SaganError(
            f"the packed data set '{dataset.path}' is damaged: its pictures are not those that it "
            "was packed with; pack it again"
        )


def _extract(
    dataset: PackedDataset,
    network: FeatureNetwork,
    processes: PartialState,
    rows: npt.NDArray[np.int64],
    folder: Path,
    progress: NamedProgress,
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with staged(folder) as temporary:  # each process has its own, and only the main one's is kept
        extract(
            network, lambda start, stop: dataset.images[rows[start:stop]], len(rows), temporary,
            processes, f"features of {dataset.source} ({dataset.split})", progress,
        )  # fmt: skip
        if processes.is_main_process:
            if _open_cached(folder, (len(rows), network.width)) is None:
                shutil.rmtree(folder, ignore_errors=True)  # damaged, or not there
            keep_first(temporary, folder)


def _name(dataset: PackedDataset, network: FeatureNetwork, rows: npt.NDArray[np.int64]) -> str:
    """A name made of everything that decides the features."""
    key = [VERSION, dataset.fingerprint, network.protocol(), rows.tolist()]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return f"{network.name}-{dataset.fingerprint[:8]}-{digest[:16]}"


def _open_cached(folder: Path, shape: tuple[int, int]) -> Float32Array | None:
    try:
        return map_array(folder / FEATURES, *shape)
    except (OSError, ValueError):
        return None
