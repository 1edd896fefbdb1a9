"""What all processes of a training must have in common, checked before the first step."""

import time
import uuid
from contextlib import suppress
from pathlib import Path

import torch
from accelerate import PartialState

from sagan.errors import SaganError, reason
from sagan.run import directory
from sagan.run.directory import RunDescription
from sagan.runtime.processes import check_agreement, gather_objects, name_ranks

# Network file systems show other machines' files late.
RETRY_SECONDS, RETRY_EVERY = 10.0, 0.2


def check_shared(run: Path) -> None:
    """Check that all processes see the same run directory.

    The main process writes a file there with a name that no other folder has, and removes it. Every
    process calls this.

    Raises:
        SaganError: some do not see the file, or it cannot be written; every process raises it.
    """
    processes = PartialState()
    if processes.num_processes == 1:
        return
    token = run / f".{uuid.uuid4().hex}.tmp"
    existed, problem = run.exists(), ""
    if processes.is_main_process:
        problem = _write(token)
    name, problem = gather_objects((token.name, problem))[0]
    if problem:
        raise SaganError(problem)
    try:
        seen = gather_objects(_appears(run / name))
    finally:
        if processes.is_main_process:
            with suppress(OSError):
                token.unlink()
                if not existed:
                    run.rmdir()
    if not all(seen):
        blind = [rank for rank, sees in enumerate(seen) if not sees]
        raise SaganError(
            f"'{run}' is not the same folder in all processes: what {name_ranks([0])} writes there "
            f"is not seen by {name_ranks(blind)}: give an --out on a disk that all machines share"
        )


def _write(token: Path) -> str:
    """Write the file; return why that is impossible, or ""."""
    try:
        directory.check_run_folder(token.parent)
        token.parent.mkdir(parents=True, exist_ok=True)
        token.touch()
    except SaganError as error:
        return str(error)
    except OSError as error:
        return f"cannot make the run directory '{token.parent}': {reason(error)}"
    return ""


def _appears(file: Path) -> bool:
    """Wait until a file of another process can be seen; return whether it can."""
    until = time.monotonic() + RETRY_SECONDS
    while not file.exists():
        if time.monotonic() > until:
            return False
        time.sleep(RETRY_EVERY)
        # Opening a folder makes NFS forget which files were not there a moment ago.
        for folder in (file.parent.parent, file.parent):
            with suppress(OSError):
                next(folder.iterdir(), None)
    return True


def check_alike(description: RunDescription, precision: torch.dtype) -> None:
    """Check that all processes train the same configuration on the same images.

    Args:
        description: this process's configuration and data.
        precision: what its configuration means on this machine.

    Raises:
        SaganError: they differ; every process raises it, and it names what differs where.
    """
    settings = description.config.model_dump(mode="json")
    check_agreement(settings, "start all with the same command")
    check_agreement(
        {"the images' fingerprint": description.data["fingerprint"][:16]},
        "give all the same images (pack them once with sagan data pack)",
    )
    started = description.start.sha256.values() if description.start is not None else ["none"]
    check_agreement(
        {"the model to start from": " and ".join(digest[:16] for digest in started)},
        "give all the same --from",
    )
    check_agreement(
        {"the precision": str(precision).removeprefix("torch.")},
        f"name one that all machines have (precision={settings['precision']} depends on the "
        "machine): --set precision=float32",
    )
