"""How a batch is divided into shards, one per process and micro-batch."""

from dataclasses import dataclass

from accelerate import Accelerator
from torch import Tensor

from sagan.config import Config
from sagan.errors import SaganError


@dataclass(frozen=True)
class Shards:
    """This process's shards of a global batch: shard i is its rows i*size to (i+1)*size - 1.

    The first micro-batches of all processes are the first part of the batch, and so on.

    Attributes:
        indices: the numbers of this process's shards.
        size: images per shard.
    """

    indices: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, accelerator: Accelerator, config: Config) -> "Shards":
        """Return this process's share of a batch.

        Raises:
            SaganError: the batch cannot be divided evenly.
        """
        processes, rank = accelerator.num_processes, accelerator.process_index
        number = processes * config.accumulation
        if config.batch_size % number:
            raise SaganError(
                f"batch_size {config.batch_size} cannot be divided among {processes} processes "
                f"with accumulation {config.accumulation}: make it a multiple of {number}"
            )
        indices = tuple(range(rank, number, processes))
        return cls(indices, config.batch_size // number)


@dataclass(frozen=True)
class RealShard:
    """One shard of real images, on the device.

    Attributes:
        index: the shard's number in the global batch.
        images: uint8 (B, H, W, C).
        labels: int64 (B,), or None for an unconditional model.
    """

    index: int
    images: Tensor
    labels: Tensor | None
