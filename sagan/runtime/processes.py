"""The processes of a command, one or several: how they meet, decide alike and end together."""

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
from sagan.runtime.device import choose_device

# The other processes wait while one packs images, downloads or computes metrics, which would exceed
# NCCL's default of ten minutes. If a process dies, the launcher informs the others on the same
# machine much sooner.
SETUP_TIMEOUT = timedelta(hours=6)
# During training no process works alone for longer than it takes to draw, evaluate and save: one
# that stays away longer is lost, perhaps together with its machine.
STEP_TIMEOUT = timedelta(minutes=30)

_LAUNCH = "start them with torchrun or accelerate launch"
_SHARDING = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")


def join_processes(device: str | None = None) -> PartialState:
    """Join the processes that a launcher started, or be the only one.

    The processes meet at the first call; later calls return the same state.

    Args:
        device: where to compute (see `choose_device`); the first call decides.

    Raises:
        SaganError: a launcher started several processes without the addresses they need to meet,
            or more than this machine has GPUs; the device is not available, or the first call
            chose another one.
    """
    chosen = choose_device(device)
    if not PartialState._shared_state:  # the first call
        _refuse_shared_devices(chosen)
    try:
        # On CPUs, processes talk over gloo.
        state = PartialState(cpu=chosen.type == "cpu", timeout=SETUP_TIMEOUT)
    except ValueError as error:
        raise SaganError(f"cannot join the other processes ({error}): {_LAUNCH}") from None
    announced = os.environ.get("WORLD_SIZE", "1")
    if announced.isdecimal() and int(announced) > state.num_processes:
        raise SaganError(
            f"WORLD_SIZE announces {announced} processes, but this one found "
            f"{state.num_processes}: {_LAUNCH}"
        )
    if device is not None and device != state.device.type:
        raise SaganError(
            f"cannot compute on '{device}': this process was set up for '{state.device.type}'"
        )
    return state


def _refuse_shared_devices(chosen: torch.device) -> None:
    """Refuse to share a GPU, which would only fail in NCCL, at the first exchange."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if chosen.type == "cpu" or not local.isdecimal():
        return
    devices = torch.accelerator.device_count()
    if int(local) > devices:
        raise SaganError(
            f"{local} processes on a machine with {devices} GPUs: start {devices}, one for each "
            f"(torchrun --nproc-per-node {devices}), or train on CPUs with --device cpu"
        )


def refuse_launcher(remedy: str) -> None:
    """Refuse to run as one of several processes.

    Args:
        remedy: what to do instead, in the user's words.

    Raises:
        SaganError: a launcher started several processes.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise SaganError(
            f"a launcher started {os.environ['WORLD_SIZE']} processes, but this command runs in "
            f"one: {remedy}"
        )


def make_accelerator() -> Accelerator:
    """Return devices and processes as the launcher set them up; without one, a single process.

    A user's `accelerate config` chooses devices and processes only: precision and accumulation
    come from the run's configuration.

    Raises:
        SaganError: it asks for networks divided among processes.
    """
    if any(parse_flag_from_env(name) for name in _SHARDING):
        raise SaganError(
            "sagan keeps both networks whole in every process: choose no FSDP, DeepSpeed or "
            "Megatron in accelerate config"
        )
    # Running statistics are averaged instead of overwritten by the first process's.
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False)]
    state = join_processes()  # before the accelerator does so with its shorter timeout
    return Accelerator(
        cpu=state.device.type == "cpu",
        mixed_precision="no",
        dynamo_backend="no",
        kwargs_handlers=handlers,
    )


class Processes:
    """The processes of a training, which exchange small integers to decide alike.

    The exchange goes through the CPU, so that nothing waits for what the devices compute.

    Args:
        num_processes: how many have met.
    """

    def __init__(self, num_processes: int) -> None:
        self._group: distributed.ProcessGroup | None = None
        if num_processes > 1:  # a group of its own, besides NCCL's on GPUs
            group = distributed.new_group(backend="gloo", timeout=STEP_TIMEOUT)
            self._group = cast(distributed.ProcessGroup, group)

    def all_reduce_max(self, *values: int) -> list[int]:
        """Return each value's maximum over the processes, waiting until all have called this."""
        if not self._group:
            return list(values)
        maxima = torch.tensor(values)
        distributed.all_reduce(maxima, op=distributed.ReduceOp.MAX, group=self._group)
        result: list[int] = maxima.tolist()
        return result


def shorten_timeout() -> None:
    """Wait for the other processes for at most `STEP_TIMEOUT` from now on."""
    if distributed.is_initialized():
        # Older versions of torch have it under the private name only.
        set_timeout = getattr(distributed, "set_timeout", None) or distributed_c10d._set_pg_timeout
        set_timeout(STEP_TIMEOUT)


@contextmanager
def report_lost_processes(remedy: str) -> Iterator[None]:
    """End in one line if the other processes cannot be reached, usually because one has ended.

    Args:
        remedy: what to do then, in the user's words.

    Raises:
        SaganError: they cannot be reached; the message quotes what the network reports.
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
            "another process of this command has ended or cannot be reached, so this one ends too "
            f"({reported}): {remedy}"
        ) from None


def _leave() -> None:
    """Close gloo's connections.

    With gloo's threads still running, the interpreter aborts at exit about one time in ten, which
    changes the exit status. Closing NCCL's would wait for the other processes.
    """
    if distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()
