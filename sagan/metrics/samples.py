"""Which pictures of a generator are measured: a fixed list that any process can draw a part of."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from sagan.data import PackedDataset
from sagan.metrics.measures.inputs import shared_labels
from sagan.nn.base import GeneratorBase
from sagan.nn.inputs import seeded_latents
from sagan.types import Int64Array, UInt8Array


@dataclass(frozen=True)
class Samples:
    """A list of `num` samples.

    Attributes:
        generator: draws them.
        num: how many.
        labels: int64 (num,), or None for an unconditional model.
        seed: decides the latents.
        truncation: scales their standard deviation.
    """

    generator: GeneratorBase
    num: int
    labels: Int64Array | None
    seed: int
    truncation: float = 1.0

    @cached_property
    def _latents(self) -> Tensor:
        return seeded_latents(self.num, self.generator.latent_size, self.seed)

    def draw(self, start: int, stop: int) -> UInt8Array:
        """Samples [start, stop): uint8 (stop - start, S, S, 3). Batch norm's running statistics."""
        labels = None if self.labels is None else self.labels[start:stop]
        latents = self._latents[start:stop]
        return self.generator.sample(
            stop - start, labels, truncation=self.truncation, latents=latents
        )


def matching_labels(
    num: int, num_classes: int, reference: PackedDataset | None
) -> Int64Array | None:
    """Labels (num,) for a conditional generator, None for an unconditional one.

    As often as in the reference; equally often without one.
    """
    if not num_classes:
        return None
    if reference is None or reference.labels is None:
        return shared_labels(num, np.ones(num_classes, dtype=np.int64))
    return shared_labels(num, np.bincount(reference.labels, minlength=num_classes))
