"""The plan of an evaluation: which model, against which images, by which metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.figures import check_format
from sagan.metrics.features.network import FeatureNetwork
from sagan.metrics.measures.parts import check_faces
from sagan.metrics.measures.table import METRICS, Measure
from sagan.metrics.samples import matching_labels
from sagan.model import Model, WeightsName
from sagan.nn.inputs import check_truncation
from sagan.types import Int64Array


@dataclass(frozen=True)
class SamplePlan:
    """Which samples to generate.

    Attributes:
        num: number of samples.
        seed: decides the latents, and whatever is random in metrics.
        truncation: scales the latents' standard deviation.
        weights: of the generator: "ema", the average, or "raw", the latest.
    """

    num: int = 10_000
    seed: int = 0
    truncation: float = 1.0
    weights: WeightsName = "ema"


def uses_train_images(metrics: Sequence[str], neighbors: Path | None) -> bool:
    """Return whether a request needs the images that the model was trained on."""
    return neighbors is not None or any("train" in METRICS[name].needs for name in metrics)


def check_request(metrics: Sequence[str], plan: SamplePlan, neighbors: Path | None) -> None:
    """Check what can be checked before a model or data set is opened.

    Raises:
        SaganError: a metric is unknown or needs more samples, or the truncation or the format of
            the figure is not possible.
    """
    for name in metrics:
        if name not in METRICS:
            raise SaganError(f"unknown metric '{name}': choose from {', '.join(METRICS)}")
        if plan.num < METRICS[name].min_images:
            raise SaganError(
                f"{name} needs at least {METRICS[name].min_images} samples, not {plan.num}"
            )
    check_truncation(plan.truncation)
    if neighbors is not None:
        check_format(neighbors)


def check_conditional(metrics: Sequence[str], model: Model) -> None:
    """Check that the model is conditional if a metric needs classes.

    Raises:
        SaganError: the model is unconditional.
    """
    for name in metrics:
        if "labels" in METRICS[name].needs and not model.classes:
            raise SaganError(
                f"{name} needs a conditional model, but '{model.origin}' is unconditional"
            )


@dataclass(frozen=True)
class EvaluationPlan:
    """Everything that decides an evaluation's numbers.

    Attributes:
        model: the model to measure.
        reference: the real images that its samples are compared with.
        train: the training images, for "class-accuracy", "near-copies" and `neighbors`.
        metrics: names in `METRICS`, each once.
        network: computes features of images.
        samples: which samples to generate.
        neighbors: FILE.png for samples beside their nearest training images, or None.
    """

    model: Model
    reference: PackedDataset
    train: PackedDataset
    metrics: tuple[str, ...]
    network: FeatureNetwork
    samples: SamplePlan
    neighbors: Path | None

    @property
    def measures(self) -> list[Measure]:
        """The computations that give these metrics, each once."""
        chosen: list[Measure] = []
        for name in self.metrics:
            if METRICS[name] not in chosen:
                chosen.append(METRICS[name])
        return chosen

    @property
    def uses_train(self) -> bool:
        """Whether the training images are needed."""
        return uses_train_images(self.metrics, self.neighbors)

    @property
    def same_classes(self) -> bool:
        """Whether a label means the same to the model and in the reference."""
        classes = self.model.classes
        return bool(classes) and classes == self.reference.classes

    def check(self) -> None:
        """Check that everything fits before anything is computed.

        Raises:
            SaganError: something does not fit.
        """
        check_request(self.metrics, self.samples, self.neighbors)
        for name in self.metrics:
            self._check_needs(name)
        shape = self.model.config.shape
        for dataset in (self.reference, self.train):
            if dataset.shape != shape:
                raise SaganError(
                    f"'{self.model.origin}' generates images of {shape}, but '{dataset.source}' "
                    f"has {dataset.shape}: pack it with --size {shape.resolution} --colors "
                    f"{shape.colors}"
                )

    def _check_needs(self, name: str) -> None:
        measure = METRICS[name]
        if len(self.reference) < measure.min_images and "logits" not in measure.needs:
            raise SaganError(
                f"{name} needs at least {measure.min_images} real images, not {len(self.reference)}"
            )
        if measure.features and self.network.name != measure.features:
            raise SaganError(f"{name} needs --features {measure.features}")
        if "logits" in measure.needs and not self.network.num_logits:
            raise SaganError(f"{name} needs a classifier, but {self.network.name} is not one")
        datasets = [self.reference, *([self.train] if "train" in measure.needs else [])]
        for dataset in datasets if "labels" in measure.needs else []:
            check_conditional([name], self.model)
            if dataset.classes != self.model.classes:
                raise SaganError(
                    f"{name} needs real images of the model's classes: "
                    f"'{self.model.origin}' has {_listed(self.model.classes)}, "
                    f"'{dataset.source}' has {_listed(dataset.classes)}"
                )
        if name == "intra-fid" and self.smallest_counts().max() < 2:
            raise SaganError(
                "intra-fid needs a class with two samples and two real images: give a larger "
                "--num, or other metrics"
            )
        if name == "parts":
            check_faces(self.reference)
        if name == "class-accuracy" and np.ptp(_labels(self.train)) == 0:
            raise SaganError(
                f"class-accuracy needs two classes, but '{self.train.source}' has one class"
            )

    @property
    def trained_on_these(self) -> str:
        """Whether the model was trained on the train split: "yes", "no" or "unknown"."""
        if not self.model.fingerprint:
            return "unknown"
        return "yes" if self.model.fingerprint == self.train.fingerprint else "no"

    def labels(self) -> Int64Array | None:
        """Return labels of the samples: int64 (num,); None for an unconditional model."""
        shared = self.reference if self.same_classes else None
        return matching_labels(self.samples.num, len(self.model.classes), shared)

    def smallest_counts(self) -> Int64Array:
        """Return for each class its number of samples or real images, whichever is less: (K,)."""
        classes = len(self.reference.classes)
        samples = matching_labels(self.samples.num, classes, self.reference)
        assert samples is not None
        real = _labels(self.reference)
        counts: Int64Array = np.minimum(
            *(np.bincount(y, minlength=classes) for y in (samples, real))
        )
        return counts


def _labels(dataset: PackedDataset) -> Int64Array:
    """Return the labels of images that are known to have labels."""
    assert dataset.labels is not None
    return dataset.labels


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes) or "none"
