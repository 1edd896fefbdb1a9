"""Checkpoints of a run.

A checkpoint is weights (safetensors) and readable JSON, never code or pickles. It is written under
a temporary name, flushed to disk and renamed, so that a crash leaves the old one or the new one
whole. Its manifest contains the sha256 of each file, computed before the file was written and
checked when it is read.

    RUN/checkpoints/step-00001000/{generator,discriminator,ema,optimizer}.safetensors
                                  state.json  manifest.json
"""

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from sagan.errors import SaganError, UnreadableError, counted, reason
from sagan.run.directory import RUN_FORMAT
from sagan.runtime.memory import check_memory
from sagan.storage.files import MAX_TEXT_BYTES, open_file, read_small, to_json
from sagan.storage.fsync import flush, rename, write
from sagan.storage.staging import discard, remove_unfinished

KEEP = 3  # how many of the newest checkpoints stay
FILES = (
    "generator.safetensors",
    "discriminator.safetensors",
    "ema.safetensors",
    "optimizer.safetensors",
    "state.json",
)

MAX_HEADER_BYTES = 4 * 2**20

StateTensors: TypeAlias = dict[str, Tensor]


def checkpoints(run: Path) -> list[Path]:
    """Return the run's checkpoint folders, oldest first, without checking their content."""
    found = (run / "checkpoints").glob("step-*")
    return sorted(filter(is_checkpoint, found), key=step_of)


def is_checkpoint(path: Path) -> bool:
    """Return whether a path is named like a checkpoint folder."""
    return re.fullmatch(r"step-\d{8,}", path.name) is not None


def step_of(checkpoint: Path) -> int:
    """Return how many generator updates a checkpoint folder's name states."""
    return int(checkpoint.name.removeprefix("step-"))


def folder_of(run: Path, step: int) -> Path:
    """Return the folder in which the checkpoint of a step is, or will be."""
    return run / "checkpoints" / f"step-{step:08d}"


def save_checkpoint(
    run: Path,
    step: int,
    tensors: Mapping[str, StateTensors],
    state: Mapping[str, Any],
    keep: Callable[[int], bool] = lambda step: False,
) -> Path:
    """Write one checkpoint, whole or not at all, then remove old ones.

    The `KEEP` newest up to this one stay, and so does any with a file called `keep` in it.

    Args:
        run: the run directory.
        step: generator updates done.
        tensors: the content of each safetensors file, by its name without the suffix.
        state: whatever else the next step depends on, as JSON.
        keep: whether the checkpoint of a step stays, however old it is.

    Raises:
        SaganError: the disk is full or cannot be written to.
    """
    final = folder_of(run, step)
    folder = final.parent
    temporary = folder / f".{final.name}.tmp"
    remove_unfinished(folder)
    try:
        temporary.mkdir()
        _write_checkpoint(temporary, tensors, {"step": step, **state})
        if os.path.lexists(final):  # a damaged one: training resumed from one before it
            if (final / "keep").exists():
                (temporary / "keep").touch()
            discard(final)
        flush(temporary)
        rename(temporary, final)
    except OSError as error:
        raise SaganError(
            f"cannot save the checkpoint '{final}': {reason(error)}; earlier ones are intact"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    earlier = [path for path in checkpoints(run) if step_of(path) < step]
    for old in earlier[: 1 - KEEP]:
        if not (keep(step_of(old)) or (old / "keep").exists()):
            with suppress(OSError):
                discard(old)
    return final


def _write_checkpoint(
    folder: Path, tensors: Mapping[str, StateTensors], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint's files into an empty folder, with one at a time in memory."""
    digests = {}

    def add(name: str, content: bytes) -> None:
        write(folder / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()

    for name, content in tensors.items():
        add(f"{name}.safetensors", serialize_tensors(content, {"format": "pt"}))
    add("state.json", to_json(state))
    write(folder / "manifest.json", _manifest(digests))


def latest_checkpoint(run: Path) -> Path | None:
    """Return the newest undamaged checkpoint, or None if there are no checkpoints.

    Damaged ones are skipped with a warning.

    Raises:
        SaganError: there are checkpoints, but all are damaged.
    """
    damage: list[SaganError] = []
    found = checkpoints(run)
    for checkpoint in reversed(found):
        try:
            verify_checkpoint(checkpoint)
        except SaganError as error:
            damage.append(error)
            continue
        if damage:
            lost = step_of(found[-1]) - step_of(checkpoint)
            back = f"going back {counted(lost, 'step', 'steps')} to '{checkpoint}'"
            warnings.warn(f"{damage[0]}; {back}", stacklevel=2)
        return checkpoint
    if damage:
        raise SaganError(
            f"all checkpoints of '{run}' are damaged: {damage[0]}. Start again with another --out"
        )
    return None


def verify_checkpoint(checkpoint: Path) -> None:
    """Check that the manifest is, byte for byte, the one that belongs to the files beside it.

    Raises:
        SaganError: a file is missing, cannot be read, or differs from what was written.
    """
    digests = {name: _sha256(checkpoint / name) for name in FILES}
    manifest = checkpoint / "manifest.json"
    written = read_small(manifest, follow_links=False)
    if written != _manifest(digests):
        wrong = [name for name in FILES if _manifest_line(name, digests) not in written]
        # If every file differs, or none does, the manifest itself is damaged.
        some = 0 < len(wrong) < len(FILES)
        raise _damaged(checkpoint / wrong[0] if some else manifest)


def _sha256(path: Path) -> str:
    """Return the digest of a file; a link, pipe or device counts as damage, as does a wrong size.

    Raises:
        SaganError: it cannot be read, or is larger than `sagan.runtime.memory` allows.
    """
    digest = hashlib.sha256()
    try:
        most = MAX_TEXT_BYTES if path.suffix == ".json" else None
        with open_file(path, most, follow_links=False) as file:
            check_memory(os.fstat(file.fileno()).st_size, str(path), "its content")
            # A file that may be of any size takes any time to be read: its header, which says how
            # long it is, comes first.
            if path.suffix == ".safetensors" and not _is_whole(path):
                raise _damaged(path)
            while block := file.read(2**20):
                digest.update(block)
    except (OSError, UnreadableError) as error:
        raise SaganError(
            f"'{path.parent}' is damaged: cannot read '{path.name}': {reason(error)}"
        ) from None
    return digest.hexdigest()


def _is_whole(path: Path) -> bool:
    """Return whether a safetensors file is as long as its header says."""
    if header_bytes(path) > MAX_HEADER_BYTES:
        return False
    try:
        with safe_open(path, framework="pt"):
            return True
    except SafetensorError:
        return False


def _damaged(path: Path) -> SaganError:
    return SaganError(f"'{path.parent}' is damaged: '{path.name}' is not what was written")


def serialize_tensors(tensors: StateTensors, metadata: dict[str, str]) -> bytes:
    """Return tensors as the content of a safetensors file."""
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return serialize(contiguous, metadata)


def tensors_sha256(tensors: StateTensors) -> str:
    """Return the SHA-256 of tensors: of their names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(serialize_tensors({name: tensor}, {}))
    return digest.hexdigest()


def _manifest(digests: Mapping[str, str]) -> bytes:
    """Return a manifest: the sha256 of each file, and one of all these and the format."""
    content: dict[str, Any] = {"format": RUN_FORMAT, "sha256": dict(sorted(digests.items()))}
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return to_json({**content, "checksum": checksum})


def _manifest_line(name: str, digests: Mapping[str, str]) -> bytes:
    return f'"{name}": "{digests[name]}"'.encode()


def read_checkpoint(checkpoint: Path, name: str) -> StateTensors:
    """Read one of a checkpoint's safetensors files.

    Raises:
        SaganError: it is missing or damaged.
    """
    path = checkpoint / f"{name}.safetensors"
    if header_bytes(path, follow_links=False) > MAX_HEADER_BYTES:
        raise SaganError(f"cannot read '{path}': its header is larger than 4 MiB")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise SaganError(f"cannot read '{path}': {error}") from None


def header_bytes(path: Path, *, follow_links: bool = True) -> int:
    """Return how long the header of a safetensors file says it is.

    A header lists all tensors: one of hundreds of MiB takes a minute, and memory, to be parsed.

    Raises:
        SaganError: the file cannot be read.
    """
    try:
        with open_file(path, follow_links=follow_links) as file:
            return int.from_bytes(file.read(8), "little")
    except UnreadableError as error:
        raise SaganError(f"cannot read '{path}': {error}") from None


def load_tensors(network: nn.Module, tensors: StateTensors, origin: str) -> None:
    """Copy tensors into a network with the same names and shapes.

    Raises:
        SaganError: they belong to another network.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise SaganError(f"the weights in '{origin}' do not fit its configuration") from None
