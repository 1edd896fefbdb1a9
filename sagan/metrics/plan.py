"""What is to be measured: of which model, against which pictures, by which metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.figures import check_format
from sagan.metrics.features.network import FeatureNetwork
from sagan.metrics.measures.table import METRICS, Measure
from sagan.metrics.samples import matching_labels
from sagan.model import Model, WeightsName
from sagan.nn.inputs import check_truncation
from sagan.types import Int64Array


@dataclass(frozen=True)
class SamplePlan:
    """Which samples are drawn.

    Attributes:
        num: how many.
        seed: decides the latents, and what metrics draw at random.
        truncation: scales the latents' standard deviation.
        weights: of the generator: "ema", the average, or "raw", the latest.
    """

    num: int = 10_000
    seed: int = 0
    truncation: float = 1.0
    weights: WeightsName = "ema"


def looks_at_train(metrics: Sequence[str], neighbors: Path | None) -> bool:
    """Whether what is asked for needs the pictures that the model was trained on."""
    return neighbors is not None or any("train" in METRICS[name].needs for name in metrics)


def check_request(metrics: Sequence[str], plan: SamplePlan, neighbors: Path | None) -> None:
    """Insist on what can be known before a model or a picture is looked at.

    Raises:
        SaganError: there is no such metric, truncation or format of pictures, or a metric needs
            more samples.
    """
    for name in metrics:
        if name not in METRICS:
            raise SaganError(f"there is no metric {name!r}: there are {', '.join(METRICS)}")
        if plan.num < METRICS[name].least:
            raise SaganError(f"{name} needs {METRICS[name].least} samples, not {plan.num}")
    check_truncation(plan.truncation)
    if neighbors is not None:
        check_format(neighbors)


def check_conditional(metrics: Sequence[str], model: Model) -> None:
    """Insist on a conditional model where a metric asks about classes.

    Raises:
        SaganError: it is unconditional.
    """
    for name in metrics:
        if "labels" in METRICS[name].needs and not model.classes:
            raise SaganError(f"{name} needs a conditional model, and {model.origin} is none")


@dataclass(frozen=True)
class EvaluationPlan:
    """Everything that decides an evaluation's numbers.

    Attributes:
        model: what is measured.
        reference: the real pictures that its samples are compared with.
        train: pictures that "class-accuracy", "near-copies" and `neighbors` look at.
        metrics: names in `METRICS`, each once.
        network: what makes features of pictures.
        samples: which samples are drawn.
        neighbors: FILE.png for samples beside their nearest training pictures, or None.
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
        """The computations asked for, each once."""
        chosen: list[Measure] = []
        for name in self.metrics:
            if METRICS[name] not in chosen:
                chosen.append(METRICS[name])
        return chosen

    @property
    def uses_train(self) -> bool:
        return looks_at_train(self.metrics, self.neighbors)

    @property
    def same_classes(self) -> bool:
        """Whether a label means the same to the model and in the reference."""
        classes = self.model.classes
        return bool(classes) and classes == self.reference.classes

    def check(self) -> None:
        """Insist that everything fits before anything is computed.

        Raises:
            SaganError: it does not.
        """
        check_request(self.metrics, self.samples, self.neighbors)
        for name in self.metrics:
            self._check_needs(name)
        resolution = self.model.config.resolution
        for dataset in (self.reference, self.train):
            if dataset.size != resolution:
                raise SaganError(
                    f"{self.model.origin} draws {resolution} x {resolution} pictures, and those of "
                    f"{dataset.source} are {dataset.size} x {dataset.size}: pack them with --size "
                    f"{resolution}"
                )

    def _check_needs(self, name: str) -> None:
        measure = METRICS[name]
        if len(self.reference) < measure.least and "logits" not in measure.needs:
            raise SaganError(
                f"{name} needs {measure.least} real pictures, not {len(self.reference)}"
            )
        if "logits" in measure.needs and not self.network.num_logits:
            raise SaganError(f"{name} needs a classifier, and {self.network.name} is none")
        looked_at = [self.reference, *([self.train] if "train" in measure.needs else [])]
        for dataset in looked_at if "labels" in measure.needs else []:
            check_conditional([name], self.model)
            if dataset.classes != self.model.classes:
                raise SaganError(
                    f"{name} needs real pictures of the model's classes: "
                    f"{self.model.origin} has {_listed(self.model.classes)}, "
                    f"{dataset.source} has {_listed(dataset.classes)}"
                )
        if name == "intra-fid" and self.of_each_class().max() < 2:
            raise SaganError(
                "intra-fid needs a class with two samples and two real pictures: give a larger "
                "--num, or other metrics"
            )
        if name == "class-accuracy" and np.ptp(_labels(self.train)) == 0:
            raise SaganError(
                f"class-accuracy needs two classes, and {self.train.source} has pictures of one"
            )

    @property
    def trained_on_these(self) -> str:
        """Whether the train split is what the model was trained on."""
        if not self.model.fingerprint:
            return "unknown"
        return "yes" if self.model.fingerprint == self.train.fingerprint else "no"

    def labels(self) -> Int64Array | None:
        """Of the samples: int64 (num,), None for an unconditional model."""
        shared = self.reference if self.same_classes else None
        return matching_labels(self.samples.num, len(self.model.classes), shared)

    def of_each_class(self) -> Int64Array:
        """Samples or real pictures of each class, whichever are fewer: (K,)."""
        classes = len(self.reference.classes)
        samples = matching_labels(self.samples.num, classes, self.reference)
        assert samples is not None
        real = _labels(self.reference)
        counts: Int64Array = np.minimum(
            *(np.bincount(y, minlength=classes) for y in (samples, real))
        )
        return counts


def _labels(dataset: PackedDataset) -> Int64Array:
    """Of pictures that are known to have them."""
    assert dataset.labels is not None
    return dataset.labels


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes) or "none"
