"""One process or several: how they meet, agree and end together."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, parse_flag_from_env
from torch import distributed
from torch.distributed import DistError, distributed_c10d

from sagan.errors import SaganError

# While one process packs pictures, downloads or computes numbers, the others wait; NCCL's ten
# minutes would end them. Of a process that has gone the launcher tells those on the same machine
# much sooner.
PATIENCE = timedelta(hours=6)
# Once a training is under way nobody is alone at work for longer than drawing, measuring and saving
# take: who does not come by then is gone, perhaps with a whole machine.
STEP_PATIENCE = timedelta(minutes=30)

_LAUNCH = "start them with torchrun or accelerate launch"
_SHARDING = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")


def runs_on_cpu() -> bool:
    """Whether there is no GPU or the like to use; launchers then start processes with gloo.

    `accelerate launch --cpu` says that the one there is not to be used.
    """
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def join_processes() -> PartialState:
    """The processes that a launcher started, or this one alone; they meet at the first call.

    Raises:
        SaganError: a launcher started several, and did not tell them enough to meet, or more than
            this machine has GPUs.
    """
    _refuse_shared_devices()
    try:
        processes = PartialState(cpu=runs_on_cpu(), timeout=PATIENCE)
    except ValueError as error:
        raise SaganError(f"cannot join the other processes ({error}): {_LAUNCH}") from None
    announced = os.environ.get("WORLD_SIZE", "1")
    if announced.isdecimal() and int(announced) > processes.num_processes:
        raise SaganError(
            f"WORLD_SIZE announces {announced} processes, and this one found "
            f"{processes.num_processes}: {_LAUNCH}"
        )
    return processes


def _refuse_shared_devices() -> None:
    """Two processes with one GPU would end in NCCL, at the first meeting."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if runs_on_cpu() or not local.isdecimal():
        return
    devices = torch.accelerator.device_count()
    if int(local) > devices:
        raise SaganError(
            f"{local} processes on a machine with {devices} GPUs: start {devices}, one for each "
            f"(torchrun --nproc-per-node {devices})"
        )


def refuse_launcher(mending: str) -> None:
    """Insist on one process, started without a launcher.

    Args:
        mending: what to do instead, in the user's words.

    Raises:
        SaganError: a launcher started several.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise SaganError(
            f"a launcher started {os.environ['WORLD_SIZE']} processes, and here is work for one: "
            f"{mending}"
        )


def make_accelerator() -> Accelerator:
    """Devices and processes as the launcher set them up; one process without one.

    Precision and accumulation are the configuration's: a user's `accelerate config` decides
    about devices and processes only.

    Raises:
        SaganError: it wants networks that are divided among processes.
    """
    if any(parse_flag_from_env(name) for name in _SHARDING):
        raise SaganError(
            "every process holds both networks whole: choose no FSDP, DeepSpeed or Megatron in "
            "accelerate config"
        )
    # Running statistics are averaged, not overwritten by the first process's.
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False)]
    join_processes()  # with more patience than the accelerator has
    return Accelerator(
        cpu=runs_on_cpu(), mixed_precision="no", dynamo_backend="no", kwargs_handlers=handlers
    )


class Consensus:
    """Lets all processes decide alike, without waiting for what their devices compute.

    Args:
        processes: how many there are, which have met.
    """

    def __init__(self, processes: int) -> None:
        self._group: distributed.ProcessGroup | None = None
        if processes > 1:  # besides the GPUs' own
            group = distributed.new_group(backend="gloo", timeout=STEP_PATIENCE)
            self._group = cast(distributed.ProcessGroup, group)

    def agree(self, *asked: int) -> list[int]:
        """The largest of what each process asks, for each thing asked; waits for all of them."""
        if self._group is None:
            return list(asked)
        largest = torch.tensor(asked)
        distributed.all_reduce(largest, op=distributed.ReduceOp.MAX, group=self._group)
        answers: list[int] = largest.tolist()
        return answers


def lose_patience() -> None:
    """From now on wait for the other processes for `STEP_PATIENCE` at most."""
    if distributed.is_initialized():
        # Older torch has it under another name only.
        set_timeout = getattr(distributed, "set_timeout", None) or distributed_c10d._set_pg_timeout
        set_timeout(STEP_PATIENCE)


@contextmanager
def together(mending: str) -> Iterator[None]:
    """End in one line when other processes cannot be reached, most often since one has ended.

    Args:
        mending: what to do then, in the user's words.

    Raises:
        SaganError: they cannot be reached; it says what the network reports.
    """
    try:
        yield
    except SaganError:
        _leave()
        raise
    except RuntimeError as error:
        if not (isinstance(error, DistError) or "gloo" in str(error)):
            raise
        _leave()
        reported = str(error).strip().partition("\n")[0][:200]
        raise SaganError(
            "another process of this command has ended, or cannot be reached, and so this one "
            f"ends ({reported}): {mending}"
        ) from None


def _leave() -> None:
    """Close the processes' connections: with gloo's threads at work an interpreter may abort at
    its end, one time in ten, and its exit status is another then. NCCL waits for the others."""
    if distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()
