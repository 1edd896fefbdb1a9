"""From a trained model and real pictures to numbers, with the protocol that they hold under."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from sagan.checkpoint import Model, Weights, open_model
from sagan.data import PackedDataset
from sagan.data.duplicates import first_of_each, not_among
from sagan.durability import reason
from sagan.environment import describe_environment
from sagan.errors import SaganError
from sagan.figures import check_format
from sagan.metrics.distances import Neighbours
from sagan.metrics.extraction import FEATURES, LOGITS, Progress, extract, map_array, silent
from sagan.metrics.features import DEFAULT_FEATURES, FeatureNetwork, open_network
from sagan.metrics.inception_score import SPLITS
from sagan.metrics.measures import DEFAULT_METRICS, METRICS, Measure
from sagan.metrics.near_copies import NEAREST
from sagan.metrics.neighbours import draw_neighbours, suspects
from sagan.metrics.protocol import COMPUTED_WITH, identity, published_name
from sagan.metrics.reference import reference_features
from sagan.metrics.samples import Samples, matching_labels
from sagan.metrics.subject import NEIGHBOURHOOD, Labels, Rows, Subject, spread
from sagan.processes import join_processes
from sagan.sampling import check_truncation

FORMAT = 1
FEW = 5  # pictures for each feature: with fewer a Frechet distance is mostly bias
FEW_NEW = 1000  # new pictures: with fewer the nearest hundredth of them is a handful


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
    weights: Weights = "ema"


def evaluate(
    model: Model | str | Path,
    reference: PackedDataset,
    *,
    train: PackedDataset | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    network: FeatureNetwork | None = None,
    plan: SamplePlan | None = None,
    neighbours: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure how near a model's samples are to real pictures.

    Under ``accelerate launch`` or ``torchrun`` every process calls this: each draws its share of
    the samples, the main process computes, and all get the result.

    Args:
        model: a trained model, or where it is.
        reference: real pictures, of the model's resolution.
        train: the pictures that it was trained on, if ``reference`` are others. Only
            "class-accuracy" and "near-copies" look at them.
        metrics: names in `METRICS`.
        network: what makes features of pictures; by default EfficientNet-Lite0.
        plan: which samples; by default 10,000 of the averaged generator.
        neighbours: FILE.png for samples beside the training pictures nearest to them.
        progress: told in the main process what is being done.

    Returns:
        Ready for JSON: "metrics" {name: number}, "better" {name: "higher" or "lower"}, "protocol",
        "notes" (lines that a reader of the numbers should know), "model" and "environment". A
        distance is named after its features: "FID" with the canonical Inception weights, else
        "FD-EfficientNet" and so on.

    Raises:
        SaganError: something does not fit, or is not there.
    """
    evaluation = _Evaluation(
        model=model if isinstance(model, Model) else open_model(model),
        reference=reference,
        train=train or reference,
        metrics=tuple(dict.fromkeys(metrics)),
        network=network or open_network(DEFAULT_FEATURES),
        plan=plan or SamplePlan(),
        neighbours=neighbours,
    )
    evaluation.check()
    return evaluation.document(evaluation.run(progress))


def check_request(metrics: Sequence[str], plan: SamplePlan, neighbours: Path | None) -> None:
    """Insist on what can be known before a model or a picture is looked at.

    Raises:
        SaganError: there is no such metric, truncation or format of pictures.
    """
    for name in metrics:
        if name not in METRICS:
            raise SaganError(f"there is no metric {name!r}: there are {', '.join(METRICS)}")
    check_truncation(plan.truncation)
    if neighbours is not None:
        check_format(neighbours)


@dataclass(frozen=True)
class _Evaluation:
    """What `evaluate` was asked for."""

    model: Model
    reference: PackedDataset
    train: PackedDataset
    metrics: tuple[str, ...]
    network: FeatureNetwork
    plan: SamplePlan
    neighbours: Path | None

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
        needed = any("train" in measure.needs for measure in self.measures)
        return needed or self.neighbours is not None

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
        check_request(self.metrics, self.plan, self.neighbours)
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
        if self.plan.num < measure.least:
            raise SaganError(f"{name} needs {measure.least} samples, not {self.plan.num}")
        if len(self.reference) < measure.least and "logits" not in measure.needs:
            raise SaganError(
                f"{name} needs {measure.least} real pictures, not {len(self.reference)}"
            )
        if "logits" in measure.needs and not self.network.num_logits:
            raise SaganError(f"{name} needs a classifier, and {self.network.name} is none")
        looked_at = [self.reference, *([self.train] if "train" in measure.needs else [])]
        for dataset in looked_at if "labels" in measure.needs else []:
            if not self.model.classes or dataset.classes != self.model.classes:
                raise SaganError(
                    f"{name} needs a conditional model and real pictures of the same classes: "
                    f"{self.model.origin} has {_listed(self.model.classes)}, "
                    f"{dataset.source} has {_listed(dataset.classes)}"
                )
        if name == "intra-fid" and self._of_each_class().max() < 2:
            raise SaganError(
                "intra-fid needs a class with two samples and two real pictures: give a larger "
                "--num, or other metrics"
            )
        if name == "class-accuracy" and np.ptp(_labels(self.train)) == 0:
            raise SaganError(
                f"class-accuracy needs two classes, and {self.train.source} has pictures of one"
            )

    def run(self, progress: Progress) -> dict[str, float]:
        """Compute the metrics, by the names that --metrics takes; the same in every process.

        Raises:
            SaganError: there is no room for features, or pictures are not what they were.
        """
        processes = join_processes()
        self.network.module.to(processes.device)
        samples = self._samples(processes.device)
        found: list[Any] = [None]
        try:
            with tempfile.TemporaryDirectory(prefix="sagan-") as folder:
                subject = self._subject(samples, Path(folder), processes, progress)
                if subject is not None:
                    found[0] = _computed(self.measures, subject, progress)
                    self._draw_neighbours(subject, samples)
                    del subject  # files that are mapped cannot be removed everywhere
        except OSError as error:
            place = tempfile.gettempdir()
            raise SaganError(f"cannot keep features in {place}: {reason(error)}") from None
        broadcast_object_list(found)
        values: dict[str, float] = found[0]
        return {name: v for name, v in values.items() if name.partition("/")[0] in self.metrics}

    def _draw_neighbours(self, subject: Subject, samples: Samples) -> None:
        if self.neighbours is None:
            return
        near = subject.nearest_training
        shown = suspects(near)
        rows = spread(samples.num, NEIGHBOURHOOD)[shown]
        pictures = np.concatenate([samples.draw(row, row + 1) for row in rows])
        chosen = Neighbours(near.distances[shown], near.indices[shown])
        draw_neighbours(pictures, chosen, self.train.images, self.neighbours)

    def _samples(self, device: torch.device) -> Samples:
        shared = self.reference if self.same_classes else None
        labels = matching_labels(self.plan.num, len(self.model.classes), shared)
        generator = self.model.generator(self.plan.weights).to(device)
        return Samples(generator, self.plan.num, labels, self.plan.seed, self.plan.truncation)

    def _subject(
        self, samples: Samples, folder: Path, processes: PartialState, progress: Progress
    ) -> Subject | None:
        """All features, in the main process; None in the others."""
        network = self.network
        extract(network, samples.draw, samples.num, folder, processes, "samples", progress)
        reference = reference_features(self.reference, network, processes, progress=progress)
        train = reference
        if self.uses_train:
            train = reference_features(self.train, network, processes, progress=progress)
        if reference is None or train is None:
            return None
        rows = Rows(reference, self.reference.labels)
        unseen = distinct = np.arange(0)
        if self.uses_train:
            unseen = not_among(self.reference.images, self.train.images)
            distinct = first_of_each(self.train.images)
        return Subject(
            samples=Rows(map_array(folder / FEATURES), samples.labels),
            logits=map_array(folder / LOGITS),
            reference=rows,
            train=Rows(train, self.train.labels),
            unseen=rows.at(unseen),
            distinct=distinct,
            seed=self.plan.seed,
        )

    def document(self, values: dict[str, float]) -> dict[str, Any]:
        """The numbers with everything that they depend on."""
        names = {name: published_name(name, self.network) for name in values}
        return {
            "format": FORMAT,
            "metrics": {names[name]: value for name, value in values.items()},
            "better": {names[name]: METRICS[name].better[name] for name in self.metrics},
            "notes": [*self._notes(), *self._notes_on(values)],
            "protocol": {
                "features": self.network.protocol(),
                "reference": identity(self.reference),
                "samples": self._samples_protocol(),
                "metrics": {names[name]: self._metric_protocol(name) for name in self.metrics},
            },
            "model": {
                "origin": self.model.origin,
                "step": self.model.step,
                "sha256": self.model.sha256(self.plan.weights),
            },
            "environment": describe_environment(*COMPUTED_WITH),
        }

    def _samples_protocol(self) -> dict[str, Any]:
        labels = "none"
        if self.model.classes:
            labels = "as often as in the reference" if self.same_classes else "equally often"
        return {
            "pictures": self.plan.num,
            "weights": self.plan.weights,
            "batch norm": "running statistics",
            "truncation": float(self.plan.truncation),  # 1 is 1.0
            "seed": self.plan.seed,
            "labels": labels,
            "quantisation": "uint8, to the nearest",
            "precision": "float32",
        }

    def _metric_protocol(self, name: str) -> dict[str, Any]:
        measure = METRICS[name]
        protocol = {"version": measure.version, **measure.protocol}
        if "train" in measure.needs:
            protocol |= {"train": identity(self.train), "trained on these": self._trained_on_these}
        return protocol

    @property
    def _trained_on_these(self) -> str:
        """Whether the train split is what the model was trained on."""
        if not self.model.fingerprint:
            return "unknown"
        return "yes" if self.model.fingerprint == self.train.fingerprint else "no"

    def _notes(self) -> Iterator[str]:
        """What a reader should know of these numbers."""
        name = published_name("fid", self.network)
        if self.network.title and "fid" in self.metrics:
            yield f"{name} is no FID and compares with no published one: --features inception"
        if self.model.fit != self.reference.fit:
            yield (
                f"the model's pictures were made square by {self.model.fit}, the reference's by "
                f"{self.reference.fit}: unless they were square before, they differ in more than "
                "the model"
            )
        if self.model.classes and self.reference.classes and not self.same_classes:
            yield "the model draws its classes equally often: the reference has others"
        if self.uses_train and self._trained_on_these == "no":
            yield (
                f"{self.train.source} ({self.train.split}) is not what the model was trained on: "
                "copies of what it was trained on are not found"
            )
        parts = self.plan.num // SPLITS
        if "is" in self.metrics and parts < FEW * self.network.num_logits:
            yield (
                f"{published_name('is', self.network)} is biased downwards: {parts:,} samples in "
                f"each part are few for {self.network.num_logits:,} classes. Compare it at equal "
                "numbers only"
            )
        counts = {"fid": min(self.plan.num, len(self.reference))}
        if "intra-fid" in self.metrics:
            counts["intra-fid"] = int(self._of_each_class().min())
        for metric, number in counts.items():
            if metric in self.metrics and number < FEW * self.network.width:
                yield (
                    f"{published_name(metric, self.network)} is biased upwards: {number:,} pictures"
                    f" are few for {self.network.width:,} features. Compare it at equal numbers "
                    f"only, or use {published_name('kid', self.network)}, which is unbiased"
                )

    def _notes_on(self, values: Mapping[str, float]) -> Iterator[str]:
        """What only the numbers tell."""
        new = values.get("near-copies/new", FEW_NEW)
        if new < FEW_NEW:
            yield (
                f"near-copies is coarse: {new:,} new pictures are few to find the nearest "
                f"{NEAREST:.0%} of"
            )
        classes = values.get("intra-fid/classes", len(self.reference.classes))
        if classes < len(self.reference.classes):
            yield (
                f"{published_name('intra-fid', self.network)} is the mean over {classes} of "
                f"{len(self.reference.classes)} classes: the others have fewer than two pictures"
            )

    def _of_each_class(self) -> Labels:
        """Samples or real pictures of each class, whichever are fewer: (K,)."""
        classes = len(self.reference.classes)
        samples = matching_labels(self.plan.num, classes, self.reference)
        assert samples is not None
        real = _labels(self.reference)
        counts: Labels = np.minimum(*(np.bincount(y, minlength=classes) for y in (samples, real)))
        return counts


def _computed(
    measures: Sequence[Measure], subject: Subject, progress: Progress
) -> dict[str, float]:
    values: dict[str, float] = {}
    for measure in measures:
        what = " and ".join(measure.better)
        progress(what, 0, 1)
        values |= measure.run(subject)
        progress(what, 1, 1)
    return values


def _labels(dataset: PackedDataset) -> Labels:
    """Of pictures that are known to have them."""
    assert dataset.labels is not None
    return dataset.labels


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes) or "none"
