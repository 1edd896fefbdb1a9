"""One process or several: how they meet, agree and end together."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs
from torch import distributed
from torch.distributed import DistError

from sagan.errors import SaganError

# While one process packs pictures, downloads or computes numbers, the others wait; NCCL's ten
# minutes would end them. Of a process that has gone the launcher tells the others much sooner.
PATIENCE = timedelta(hours=6)


def runs_on_cpu() -> bool:
    """Whether this machine has no GPU or the like; launchers then start processes with gloo."""
    return not torch.accelerator.is_available()


def join_processes() -> PartialState:
    """The processes that a launcher started, or this one alone; they meet at the first call."""
    return PartialState(cpu=runs_on_cpu(), timeout=PATIENCE)


def make_accelerator() -> Accelerator:
    """Devices and processes as the launcher set them up; one process without one.

    Precision and accumulation are the configuration's: a user's ``accelerate config`` decides
    about devices and processes only.
    """
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
            group = distributed.new_group(backend="gloo", timeout=PATIENCE)
            self._group = cast(distributed.ProcessGroup, group)

    def agree(self, *asked: int) -> list[int]:
        """The largest of what each process asks, for each thing asked; waits for all of them."""
        if self._group is None:
            return list(asked)
        largest = torch.tensor(asked)
        distributed.all_reduce(largest, op=distributed.ReduceOp.MAX, group=self._group)
        answers: list[int] = largest.tolist()
        return answers


@contextmanager
def together(mending: str) -> Iterator[None]:
    """End in one line when another process has gone away, which is what the network reports.

    Args:
        mending: what to do then, in the user's words.

    Raises:
        SaganError: another process has gone away.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, DistError) or "gloo" in str(error)):
            raise
        raise SaganError(
            f"another process of this command has ended, and so does this one: {mending}"
        ) from None
