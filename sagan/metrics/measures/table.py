"""All metrics of `sagan evaluate`: their names, what they need, how they are computed.

A new metric is a file with a pure function on features, and an entry of `MEASURES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from sagan.metrics.measures import inception_score as isc
from sagan.metrics.measures import kernel
from sagan.metrics.measures.classifier import MAX_ITERATIONS, PENALTY, SOLVER, fit_classifier
from sagan.metrics.measures.density_coverage import DENSITY_NEIGHBORS, density_coverage
from sagan.metrics.measures.distances import nearest
from sagan.metrics.measures.frechet import frechet_distance, intra_frechet_distance
from sagan.metrics.measures.inputs import (
    MAX_COMPARED_IMAGES,
    Features,
    MetricInputs,
    evenly_spaced,
    known_labels,
)
from sagan.metrics.measures.near_copies import NEAR_COPY_SHARE, near_copies
from sagan.metrics.measures.parts import MIN_FACES, PARTS_NETWORK, parts_metric
from sagan.metrics.measures.precision_recall import PRECISION_NEIGHBORS, precision_recall
from sagan.metrics.protocol import Better
from sagan.types import Float32Array


@dataclass(frozen=True)
class Measure:
    """A computation that gives one or more metrics.

    Attributes:
        better: which numbers are better, by metric; the names are those of --metrics.
        run: returns the metrics by name, and further numbers as "NAME/DETAIL".
        protocol: what else decides the numbers.
        needs: "labels" of samples and reference, "logits" of samples, or images of the "train"
            split.
        features: the only feature network that it can be computed from; "" for any.
        min_images: samples that are needed, and real images if the measure uses any.
        version: raised whenever the same images give other numbers.
    """

    better: dict[str, Better]
    run: Callable[[MetricInputs], dict[str, float]]
    protocol: dict[str, Any] = field(default_factory=dict)
    needs: frozenset[Literal["labels", "logits", "train"]] = frozenset()
    features: str = ""
    min_images: int = 2
    version: int = 1


def _fid(inputs: MetricInputs) -> dict[str, float]:
    return {"fid": frechet_distance(inputs.samples.features, inputs.reference.features)}


def _intra_fid(inputs: MetricInputs) -> dict[str, float]:
    samples, reference = inputs.samples, inputs.reference
    distance, classes = intra_frechet_distance(
        samples.features, known_labels(samples), reference.features, known_labels(reference)
    )
    return {"intra-fid": distance, "intra-fid/classes": classes}


def _kid(inputs: MetricInputs) -> dict[str, float]:
    mean, deviation = kernel.kernel_distance(
        inputs.samples.features, inputs.reference.features, inputs.seed
    )
    return {"kid": mean, "kid/std": deviation}


def _inception_score(inputs: MetricInputs) -> dict[str, float]:
    mean, deviation = isc.inception_score(inputs.logits, inputs.seed)
    return {"is": mean, "is/std": deviation}


def _precision_recall(inputs: MetricInputs) -> dict[str, float]:
    precision, recall = precision_recall(*_equally_many(inputs))
    return {"precision": precision, "recall": recall}


def _density_coverage(inputs: MetricInputs) -> dict[str, float]:
    density, coverage = density_coverage(*_equally_many(inputs))
    return {"density": density, "coverage": coverage}


def _equally_many(inputs: MetricInputs) -> tuple[Float32Array, Float32Array]:
    """Return features of equally many samples and real images: the metrics depend on both numbers.

    Of the samples the first ones, which have the labels of all in proportion. Evenly spaced samples
    need not: labels alternate, and with ten classes every fifth sample is of two classes only.
    """
    samples, reference = inputs.samples.features, inputs.reference.features
    num = min(MAX_COMPARED_IMAGES, len(samples), len(reference))
    return samples[:num], reference[evenly_spaced(len(reference), num)]


def _class_accuracy(inputs: MetricInputs) -> dict[str, float]:
    train = inputs.train
    classifier = fit_classifier(train.features, known_labels(train))

    def accuracy(images: Features) -> float:
        return float(classifier.score(images.features, images.labels))

    found = {"class-accuracy": accuracy(inputs.samples)}
    if len(inputs.unseen):
        found["class-accuracy/real"] = accuracy(inputs.reference.at(inputs.unseen))
    return found


def _gan_train(inputs: MetricInputs) -> dict[str, float]:
    unseen = inputs.unseen
    tested = inputs.reference.at(unseen) if len(unseen) else inputs.reference

    def accuracy(images: Features) -> float:
        classifier = fit_classifier(images.features, known_labels(images))
        return float(classifier.score(tested.features, tested.labels))

    found = {"gan-train": accuracy(inputs.samples)}
    if len(unseen):
        # Equally many, as more images make a better classifier.
        real = inputs.train.at(evenly_spaced(len(inputs.train), len(inputs.samples)))
        if np.ptp(known_labels(real)) > 0:  # a few images may all be of one class
            found["gan-train/real"] = accuracy(real)
    return found


def _near_copies(inputs: MetricInputs) -> dict[str, float]:
    samples, unseen = inputs.nearest_training, inputs.unseen
    if len(unseen):
        rows = unseen[evenly_spaced(len(unseen), MAX_COMPARED_IMAGES)]
        new = nearest(inputs.reference.features[rows], inputs.train.features, 1)
    else:
        # No real image is new, so training images stand in: the nearest of each is itself, the
        # second nearest what a new image would find. Copies would find copies, so they are left
        # out.
        train = inputs.train.at(inputs.distinct).features
        rows = evenly_spaced(len(train), MAX_COMPARED_IMAGES)
        new = nearest(train[rows], train, min(2, len(train)))
    share, nearer = near_copies(samples.distances[:, 0], new.distances[:, -1])
    return {
        "near-copies": share,
        "near-copies/nearer": nearer,
        "near-copies/new": len(new.distances),
    }


def _parts(inputs: MetricInputs) -> dict[str, float]:
    return parts_metric(inputs.samples.features, inputs.reference.features)


MEASURES = (
    Measure({"fid": "lower"}, _fid),
    Measure(
        {"kid": "lower"},
        _kid,
        {
            "kernel": "(x.y / D + 1)^3",
            "subsets": kernel.KERNEL_SUBSETS,
            "of at most": kernel.SUBSET_SIZE,
        },
    ),
    Measure(
        {"is": "higher"},
        _inception_score,
        {"splits": isc.NUM_SPLITS},
        frozenset({"logits"}),
        min_images=isc.NUM_SPLITS,
    ),
    Measure(
        {"precision": "higher", "recall": "higher"},
        _precision_recall,
        {"k": PRECISION_NEIGHBORS, "at most": MAX_COMPARED_IMAGES},
        min_images=PRECISION_NEIGHBORS + 1,
    ),
    Measure(
        {"density": "higher", "coverage": "higher"},
        _density_coverage,
        {"k": DENSITY_NEIGHBORS, "at most": MAX_COMPARED_IMAGES},
        min_images=DENSITY_NEIGHBORS + 1,
    ),
    Measure({"intra-fid": "lower"}, _intra_fid, needs=frozenset({"labels"})),
    Measure(
        {"class-accuracy": "higher"},
        _class_accuracy,
        {"penalty": PENALTY, "standardized": True, "solver": SOLVER, "iterations": MAX_ITERATIONS},
        frozenset({"labels", "train"}),
        version=2,  # since then its real images are those that are not in the train split
    ),
    Measure(
        {"gan-train": "higher"},
        _gan_train,
        {"penalty": PENALTY, "standardized": True, "solver": SOLVER, "iterations": MAX_ITERATIONS},
        frozenset({"labels", "train"}),
    ),
    Measure(
        {"near-copies": "neither"},
        _near_copies,
        {"share": NEAR_COPY_SHARE, "at most": MAX_COMPARED_IMAGES},
        frozenset({"train"}),
        version=2,  # since then new images are not in the train split, and its copies count once
    ),
    Measure({"parts": "higher"}, _parts, features=PARTS_NETWORK, min_images=MIN_FACES),
)
METRICS = {name: measure for measure in MEASURES for name in measure.better}
DEFAULT_METRICS = ("fid", "kid", "precision", "recall", "density", "coverage")


def measures_of(metrics: Sequence[str]) -> list[Measure]:
    """Return the computations that give these metrics, each once."""
    return list({id(METRICS[name]): METRICS[name] for name in metrics}.values())
