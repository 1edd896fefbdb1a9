"""The samples that are measured: a fixed list, any part of which any process can generate."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from sagan.data import PackedDataset
from sagan.metrics.measures.inputs import proportional_labels
from sagan.nn.base import GeneratorBase
from sagan.nn.inputs import seeded_latents
from sagan.types import Int64Array, UInt8Array


@dataclass(frozen=True)
class Samples:
    """A list of `num` samples.

    Attributes:
        generator: the generator.
        num: number of samples.
        labels: int64 (num,), or None for an unconditional model.
        seed: decides the latents.
        truncation: scales the latents' standard deviation.
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
        """Return samples [start, stop): uint8 (stop - start, S, S, 3).

        Batch norm uses its running statistics, so a sample does not depend on the batch.
        """
        labels = self.labels[start:stop] if self.labels is not None else None
        latents = self._latents[start:stop]
        return self.generator.sample(
            stop - start, labels, truncation=self.truncation, latents=latents
        )


def matching_labels(
    num: int, num_classes: int, reference: PackedDataset | None
) -> Int64Array | None:
    """Return labels (num,) for a conditional generator, None for an unconditional one.

    Classes are as frequent as in the reference, or equally frequent without labels to follow.
    """
    if not num_classes:
        return None
    if reference is None or reference.labels is None:
        return proportional_labels(num, np.ones(num_classes, dtype=np.int64))
    return proportional_labels(num, np.bincount(reference.labels, minlength=num_classes))
