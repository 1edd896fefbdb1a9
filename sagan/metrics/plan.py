"""The plan of an evaluation: which samples, against which images, by which metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.figures import check_format
from sagan.metrics.features.network import FeatureNetwork
from sagan.metrics.measures.inputs import smallest_counts
from sagan.metrics.measures.parts import check_faces
from sagan.metrics.measures.table import METRICS, Measure, measures_of
from sagan.metrics.samples import SamplePlan, SampleSet
from sagan.nn.inputs import check_truncation
from sagan.types import Int64Array


def uses_train_images(metrics: Sequence[str], neighbors: Path | None) -> bool:
    """Return whether a request needs the images that the model was trained on."""
    return neighbors is not None or any("train" in METRICS[name].needs for name in metrics)


def check_request(metrics: Sequence[str], plan: SamplePlan, neighbors: Path | None) -> None:
    """Check what can be checked before a model or data set is opened.

    Raises:
        SaganError: a metric is unknown or needs more samples, or the truncation or the format of
            the figure is not possible.
    """
    check_names(metrics)
    for name in metrics:
        if plan.num is not None:
            check_number(name, plan.num)
    check_truncation(plan.truncation)
    if neighbors is not None:
        check_format(neighbors)


def check_names(metrics: Sequence[str]) -> None:
    """Check that these are metrics.

    Raises:
        SaganError: one is unknown.
    """
    for name in metrics:
        if name not in METRICS:
            raise SaganError(f"unknown metric '{name}': choose from {', '.join(METRICS)}")


def check_number(metric: str, num: int) -> None:
    """Check that a metric can be computed from this many samples.

    Raises:
        SaganError: it needs more.
    """
    needed = METRICS[metric].min_images
    if num < needed:
        raise SaganError(f"{metric} needs at least {needed} samples, not {num}")


def check_network(metric: str, network: FeatureNetwork) -> None:
    """Check that a metric can be computed from what this network says of images.

    Raises:
        SaganError: it needs another one, or a classifier.
    """
    measure = METRICS[metric]
    if measure.features and network.name != measure.features:
        raise SaganError(f"{metric} needs --features {measure.features}")
    if "logits" in measure.needs and not network.num_logits:
        raise SaganError(f"{metric} needs a classifier, but {network.name} is not one")


def check_intra(counts: Int64Array) -> None:
    """Check that some class has enough images for intra-FID.

    Args:
        counts: as `smallest_counts` returns them.

    Raises:
        SaganError: no class has two.
    """
    if counts.max(initial=0) < 2:
        raise SaganError(
            "intra-fid needs a class with two samples and two real images: give more samples, or "
            "other metrics"
        )


@dataclass(frozen=True)
class EvaluationPlan:
    """Everything that decides an evaluation's numbers.

    Attributes:
        samples: the samples to measure.
        reference: the real images that they are compared with.
        train: the training images, for "class-accuracy", "near-copies" and `neighbors`.
        metrics: names in `METRICS`, each once.
        network: computes features of images.
        neighbors: FILE.png for samples beside their nearest training images, or None.
    """

    samples: SampleSet
    reference: PackedDataset
    train: PackedDataset
    metrics: tuple[str, ...]
    network: FeatureNetwork
    neighbors: Path | None

    @property
    def measures(self) -> list[Measure]:
        """The computations that give these metrics, each once."""
        return measures_of(self.metrics)

    @property
    def uses_train(self) -> bool:
        """Whether the training images are needed."""
        return uses_train_images(self.metrics, self.neighbors)

    def check(self) -> None:
        """Check that everything fits before anything is computed.

        Raises:
            SaganError: something does not fit.
        """
        for name in self.metrics:
            check_number(name, self.samples.num)
            self._check_needs(name)
        shape = self.samples.shape
        for dataset in (self.reference, self.train):
            if dataset.shape != shape:
                raise SaganError(
                    f"the samples of '{self.samples.origin}' have {shape} pixels, but "
                    f"'{dataset.source}' has {dataset.shape}: pack it with --size "
                    f"{shape.resolution} --colors {shape.colors}"
                )

    def _check_needs(self, name: str) -> None:
        measure = METRICS[name]
        if len(self.reference) < measure.min_images and "logits" not in measure.needs:
            raise SaganError(
                f"{name} needs at least {measure.min_images} real images, not {len(self.reference)}"
            )
        check_network(name, self.network)
        datasets = [self.reference, *([self.train] if "train" in measure.needs else [])]
        for dataset in datasets if "labels" in measure.needs else []:
            self.samples.require_labels(name)
            if dataset.classes != self.samples.classes:
                raise SaganError(
                    f"{name} needs real images of the {self.samples.possessive} classes: "
                    f"'{self.samples.origin}' has {_listed(self.samples.classes)}, "
                    f"'{dataset.source}' has {_listed(dataset.classes)}"
                )
        if name == "intra-fid":
            check_intra(self.smallest_counts())
        if name == "parts":
            check_faces(self.reference)
        # What the classifier is fitted on.
        fitted = {"class-accuracy": self.train.labels, "gan-train": self.labels()}.get(name)
        if fitted is not None and np.ptp(fitted) == 0:
            origin = self.train.source if name == "class-accuracy" else self.samples.origin
            raise SaganError(f"{name} needs two classes, but '{origin}' has one class")

    @property
    def trained_on_these(self) -> str:
        """Whether the generator was trained on the train split, as the protocol states it."""
        return self.samples.trained_on(self.train)

    def labels(self) -> Int64Array | None:
        """Return labels of the samples: int64 (num,), or None."""
        return self.samples.labels(self.reference)

    def smallest_counts(self) -> Int64Array:
        """Return for each class its number of samples or real images, whichever is less: (K,)."""
        samples, real = self.labels(), self.reference.labels
        assert samples is not None
        assert real is not None
        return smallest_counts(samples, real, len(self.reference.classes))


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes) or "none"
