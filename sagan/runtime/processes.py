"""The processes of a command, one or several: how they meet, decide alike and end together."""

import atexit
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, parse_flag_from_env
from torch import distributed
from torch.distributed import DistError, distributed_c10d

from sagan._version import __version__
from sagan.errors import SaganError
from sagan.runtime.device import choose_device
from sagan.runtime.meeting import choose_interface, fresh_store, meeting_error
from sagan.runtime.watch import GRACE, PATIENCE, Watch, patience, waiting_for

Value = TypeVar("Value")

# A process that is lost is noticed by `Watch`. These end the wait for one that answers but stays
# away: while one packs images, downloads or computes metrics, and during training, where none works
# alone for longer than it takes to draw, evaluate and save.
SETUP_TIMEOUT = timedelta(hours=6)
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
        choose_interface()
    limit = patience()
    try:
        state = _meet(chosen.type == "cpu", limit)
        meets = state.num_processes > 1 and not _hosts
        if meets:
            _begin_watch(state, limit)
    except ValueError as error:
        raise SaganError(f"cannot join the other processes ({error}): {_LAUNCH}") from None
    except RuntimeError as error:
        raise meeting_error(error) from None
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
    if meets:
        check_agreement(
            {"sagan": __version__, "torch": torch.__version__},
            "install the same versions on all machines",
        )
    return state


def _meet(cpu: bool, limit: timedelta) -> PartialState:
    seconds = limit.total_seconds()
    what = f"the other processes to start ({PATIENCE}: {seconds:.0f} s)"

    def silent() -> str:
        return str(meeting_error(RuntimeError(f"gloo has not connected within {seconds:.0f} s")))

    # One end of gloo's connections waits several times as long as it was asked to.
    with waiting_for(what, seconds + 2 * GRACE, silent):
        store = fresh_store(limit) if not distributed.is_initialized() else None
        if store is not None:
            distributed.init_process_group(
                "gloo" if cpu else "nccl",
                store=store,
                rank=int(os.environ["RANK"]),
                world_size=int(os.environ["WORLD_SIZE"]),
                timeout=limit,
            )
        # On CPUs, processes talk over gloo.
        return PartialState(cpu=cpu, timeout=limit)


def _begin_watch(state: PartialState, limit: timedelta) -> None:
    """Exchange host names, and watch over the other processes until this one ends."""
    _hosts[:] = gather_objects(socket.gethostname())
    mine = _hosts[state.process_index]
    others = sorted(set(_hosts) - {mine})
    where = f" (on {', '.join(others)})" if others else ""
    Watch.current = Watch(f"another process of this command{where}", limit)
    _set_timeout(SETUP_TIMEOUT)
    atexit.register(_end_watch)


_hosts: list[str] = []  # of the processes, by rank


def name_ranks(ranks: list[int]) -> str:
    """Return names of processes for a message: "rank 1 (node2)", "ranks 2 and 3 (node3)"."""
    hosts = sorted({_hosts[rank] for rank in ranks})
    listed = " and ".join(filter(None, (", ".join(map(str, ranks[:-1])), str(ranks[-1]))))
    return f"rank{'s' * (len(ranks) > 1)} {listed} ({', '.join(hosts)})"


def gather_objects(value: Value) -> list[Value]:
    """Return every process's value, by rank; every process calls this."""
    if not distributed.is_initialized():
        return [value]
    values: list[Value | None] = [None] * distributed.get_world_size()
    with waiting_for("the other processes to get as far as this one"):
        distributed.all_gather_object(values, value)
    return cast(list[Value], values)


def check_agreement(facts: Mapping[str, object], remedy: str) -> None:
    """Check that the same holds in all processes, each of which calls this.

    Args:
        facts: values by name.
        remedy: what to do where they differ, in the user's words.

    Raises:
        SaganError: they differ; every process raises it, and it names what differs where.
    """
    found = gather_objects({name: str(value) for name, value in facts.items()})
    differences = []
    for name in facts:
        ranks: dict[str, list[int]] = {}
        for rank, values in enumerate(found):
            ranks.setdefault(values.get(name, "missing"), []).append(rank)
        if len(ranks) > 1:
            parts = [f"{value} on {name_ranks(where)}" for value, where in ranks.items()]
            differences.append(f"{name} is {' but '.join(parts)}")
    if differences:
        raise SaganError(
            f"the processes of this command differ: {'; '.join(differences)}: {remedy}"
        )


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
        number: how many have met.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._group: distributed.ProcessGroup | None = None
        if number > 1:  # a group of its own, besides NCCL's on GPUs
            group = distributed.new_group(backend="gloo", timeout=STEP_TIMEOUT)
            self._group = cast(distributed.ProcessGroup, group)

    def all_reduce_max(self, *values: int, what: str = "the other processes") -> list[int]:
        """Return each value's maximum over the processes, waiting until all have called this.

        Args:
            values: this process's values.
            what: what is waited for, as in `waiting_for`.
        """
        if not self._group:
            return list(values)
        maxima = torch.tensor(values)
        with waiting_for(what):
            distributed.all_reduce(maxima, op=distributed.ReduceOp.MAX, group=self._group)
        result: list[int] = maxima.tolist()
        return result


@contextmanager
def local_main_process_first() -> Iterator[None]:
    """Let the first process of each machine go before the others, which then find its files."""
    state = PartialState()
    first = state.is_local_main_process
    if not first:
        with waiting_for("the first process of this machine"):
            state.wait_for_everyone()
    yield
    if first:
        with waiting_for("the first processes of the other machines"):
            state.wait_for_everyone()


def shorten_timeout() -> None:
    """Wait for the other processes for at most `STEP_TIMEOUT` from now on."""
    if distributed.is_initialized():
        _set_timeout(STEP_TIMEOUT)


def _set_timeout(timeout: timedelta) -> None:
    # Older versions of torch have it under the private name only.
    set_timeout = getattr(distributed, "set_timeout", None) or distributed_c10d._set_pg_timeout
    set_timeout(timeout)


@contextmanager
def report_lost_processes(remedy: str) -> Iterator[None]:
    """End in one line if the other processes cannot be reached, usually because one has ended.

    Args:
        remedy: what to do then, in the user's words.

    Raises:
        SaganError: they cannot be reached; the message quotes what the network reports.
    """
    if Watch.current is not None:
        Watch.current.remedy = remedy
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


def leave_processes() -> None:
    """Tell the other processes that this one has done its work; they no longer watch over it."""
    if Watch.current is not None:
        Watch.current.leave()
        Watch.current = None


def _end_watch() -> None:
    """Leave at exit; after an error that nothing caught, let the others notice instead."""
    if hasattr(sys, "last_value"):
        _leave()
    else:
        leave_processes()


def _leave() -> None:
    """Close gloo's connections after an error.

    With gloo's threads still running, the interpreter aborts at exit about one time in ten, which
    changes the exit status. Closing NCCL's would wait for the other processes, and so would
    closing gloo's while a process does not answer.
    """
    watch, Watch.current = Watch.current, None
    answered = not watch or watch.stop()
    if answered and distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()
