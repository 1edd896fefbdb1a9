"""The samples that are measured: a fixed list, any part of which any process can get."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.images.shape import ImageShape
from sagan.metrics.features.extraction import DrawImages
from sagan.metrics.features.network import DEFAULT_FEATURES
from sagan.metrics.measures.inputs import proportional_labels
from sagan.model import Model, WeightsName
from sagan.nn.base import GeneratorBase
from sagan.nn.inputs import seeded_latents
from sagan.types import Int64Array, UInt8Array

DEFAULT_NUM = 10_000


@dataclass(frozen=True)
class SamplePlan:
    """Which samples to measure.

    Attributes:
        num: number of samples; None is 10,000, or all given images if there are fewer.
        seed: decides a model's latents, and whatever is random in metrics.
        truncation: scales the latents' standard deviation.
        weights: of the generator: "ema", the average, or "raw", the latest.
    """

    num: int | None = None
    seed: int = 0
    truncation: float = 1.0
    weights: WeightsName = "ema"


class SampleSet(Protocol):
    """A set of samples to measure: a model's, or images that any generator made."""

    @property
    def origin(self) -> str:
        """Where they come from, in the user's words."""

    @property
    def possessive(self) -> str:
        """The word before "classes" in messages: "model's" or "images'"."""

    @property
    def num(self) -> int:
        """Number of samples."""

    @property
    def seed(self) -> int:
        """Decides whatever is random in metrics."""

    @property
    def shape(self) -> ImageShape:
        """The shape of each sample."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels; empty without labels."""

    @property
    def credits(self) -> str:
        """Who made the images behind them; "" if unknown."""

    def require_labels(self, metric: str) -> None:
        """Raise SaganError if there are no labels, which this metric needs."""

    def labels(self, reference: PackedDataset) -> Int64Array | None:
        """Return the labels int64 (num,), numbered as in the reference if it has the classes."""

    def drawing(self, reference: PackedDataset, device: torch.device) -> DrawImages:
        """Return the function that returns samples [start, stop): uint8 (stop - start, H, W, 3)."""

    def protocol(self, reference: PackedDataset) -> dict[str, Any]:
        """Return the part of a number's protocol that says how the samples were made."""

    def identity(self) -> dict[str, Any]:
        """Return what identifies the samples' origin."""

    def trained_on(self, train: PackedDataset) -> str:
        """Return whether their generator was trained on these images, as protocols state it."""

    def notes(self, reference: PackedDataset, features: str) -> Iterator[str]:
        """Yield what a reader of numbers in these features should know about the samples."""


@dataclass(frozen=True)
class Samples:
    """A list of `num` samples of a generator.

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


@dataclass(frozen=True)
class ModelSamples:
    """The samples of a trained model: the `SampleSet` that its latents and labels decide.

    Attributes:
        model: the model.
        plan: which samples to generate.
    """

    model: Model
    plan: SamplePlan
    possessive = "model's"

    @property
    def origin(self) -> str:
        return self.model.origin

    @property
    def num(self) -> int:
        return self.plan.num if self.plan.num is not None else DEFAULT_NUM

    @property
    def seed(self) -> int:
        return self.plan.seed

    @property
    def shape(self) -> ImageShape:
        return self.model.config.shape

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.classes

    @property
    def credits(self) -> str:
        return self.model.credits

    def require_labels(self, metric: str) -> None:
        if not self.classes:
            raise SaganError(
                f"{metric} needs a conditional model, but '{self.origin}' is unconditional"
            )

    def _follows(self, reference: PackedDataset) -> bool:
        """Return whether a label means the same to the model and in the reference."""
        return bool(self.classes) and self.classes == reference.classes

    def labels(self, reference: PackedDataset) -> Int64Array | None:
        shared = reference if self._follows(reference) else None
        return matching_labels(self.num, len(self.classes), shared)

    def drawing(self, reference: PackedDataset, device: torch.device) -> DrawImages:
        generator = self.model.generator(self.plan.weights).to(device)
        labels = self.labels(reference)
        return Samples(generator, self.num, labels, self.seed, self.plan.truncation).draw

    def protocol(self, reference: PackedDataset) -> dict[str, Any]:
        labels = "none"
        if self.classes:
            follows = self._follows(reference)
            labels = "as often as in the reference" if follows else "equally often"
        return {
            "pictures": self.num,
            "weights": self.plan.weights,
            "batch norm": "running statistics",
            "truncation": float(self.plan.truncation),  # 1 is 1.0
            "seed": self.seed,
            "labels": labels,
            "quantization": "uint8, to the nearest",
            "precision": "float32",
        }

    def identity(self) -> dict[str, Any]:
        return {
            "origin": self.origin,
            "step": self.model.step,
            "sha256": self.model.sha256(self.plan.weights),
        }

    def trained_on(self, train: PackedDataset) -> str:
        if not self.model.fingerprint:
            return "unknown"
        return "yes" if self.model.fingerprint == train.fingerprint else "no"

    def notes(self, reference: PackedDataset, features: str) -> Iterator[str]:
        if self.model.config.family == "projected" and features == DEFAULT_FEATURES:
            yield (
                f"the model's discriminator looks through {features}, which flatters the model in "
                "these features beside models of other recipes: other --features do not"
            )
        if self.model.fit != reference.fit:
            yield (
                f"the model's training images got their proportions by {self.model.fit}, the "
                f"reference's by {reference.fit}: unless they had these before, this affects the "
                "numbers"
            )
        if self.classes and reference.classes and not self._follows(reference):
            yield (
                "the model generates its classes equally often, since the reference has other "
                "classes"
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
