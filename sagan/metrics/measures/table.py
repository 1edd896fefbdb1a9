"""Every metric that `sagan evaluate` knows: its names, what it needs, how it is computed.

A new metric is a file with a pure function on features, and an entry of `MEASURES`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from sagan.metrics.measures import density_coverage as dc
from sagan.metrics.measures import inception_score as isc
from sagan.metrics.measures import kernel
from sagan.metrics.measures import near_copies as nc
from sagan.metrics.measures import precision_recall as pr
from sagan.metrics.measures.classifier import MAX_ITERATIONS, PENALTY, SOLVER, fit_classifier
from sagan.metrics.measures.distances import nearest
from sagan.metrics.measures.frechet import frechet_distance, intra_frechet_distance
from sagan.metrics.measures.inputs import NEIGHBORHOOD, Rows, Subject, spread
from sagan.metrics.protocol import Better


@dataclass(frozen=True)
class Measure:
    """One computation, which may give several metrics.

    Attributes:
        better: which number is better, for each metric by the name that --metrics takes.
        run: gives the metrics by name, and further numbers as "NAME/WHAT".
        protocol: what else decides the numbers.
        needs: "labels" of samples and reference, "logits" of samples, or pictures of the "train"
            split.
        least: as many samples are needed, and real pictures if it looks at any.
        version: raised whenever the same pictures give other numbers.
    """

    better: dict[str, Better]
    run: Callable[[Subject], dict[str, float]]
    protocol: dict[str, Any] = field(default_factory=dict)
    needs: frozenset[Literal["labels", "logits", "train"]] = frozenset()
    least: int = 2
    version: int = 1


def _fid(subject: Subject) -> dict[str, float]:
    return {"fid": frechet_distance(subject.samples.features, subject.reference.features)}


def _intra_fid(subject: Subject) -> dict[str, float]:
    samples, reference = subject.samples, subject.reference
    assert samples.labels is not None
    assert reference.labels is not None
    distance, classes = intra_frechet_distance(
        samples.features, samples.labels, reference.features, reference.labels
    )
    return {"intra-fid": distance, "intra-fid/classes": classes}


def _kid(subject: Subject) -> dict[str, float]:
    mean, deviation = kernel.kernel_distance(
        subject.samples.features, subject.reference.features, subject.seed
    )
    return {"kid": mean, "kid/std": deviation}


def _inception_score(subject: Subject) -> dict[str, float]:
    mean, deviation = isc.inception_score(subject.logits, subject.seed)
    return {"is": mean, "is/std": deviation}


def _precision_recall(subject: Subject) -> dict[str, float]:
    values = pr.precision_recall(*_neighborhoods(subject))
    return dict(zip(("precision", "recall"), values, strict=True))


def _density_coverage(subject: Subject) -> dict[str, float]:
    values = dc.density_coverage(*_neighborhoods(subject))
    return dict(zip(("density", "coverage"), values, strict=True))


def _neighborhoods(subject: Subject) -> tuple[Any, Any]:
    """As many samples as real pictures: these metrics depend on both numbers.

    The first samples, which have the labels of all. Evenly spread ones need not: labels come in
    turn, and of ten classes every fifth sample is of two.
    """
    samples, reference = subject.samples.features, subject.reference.features
    num = min(NEIGHBORHOOD, len(samples), len(reference))
    return samples[:num], reference[spread(len(reference), num)]


def _class_accuracy(subject: Subject) -> dict[str, float]:
    train = subject.train
    assert train.labels is not None
    classifier = fit_classifier(train.features, train.labels)

    def accuracy(rows: Rows) -> float:
        return float(classifier.score(rows.features, rows.labels))

    found = {"class-accuracy": accuracy(subject.samples)}
    if len(subject.unseen):
        found["class-accuracy/real"] = accuracy(subject.reference.at(subject.unseen))
    return found


def _near_copies(subject: Subject) -> dict[str, float]:
    samples, unseen = subject.nearest_training, subject.unseen
    if len(unseen):
        some = unseen[spread(len(unseen), NEIGHBORHOOD)]
        new = nearest(subject.reference.features[some], subject.train.features, 1)
    else:  # a training picture's nearest is itself: what its nearest other is, a new one's would be
        train = subject.train.at(subject.distinct).features  # of copies the nearest is a copy
        some = spread(len(train), NEIGHBORHOOD)
        new = nearest(train[some], train, min(2, len(train)))
    share, nearer = nc.near_copies(samples.distances[:, 0], new.distances[:, -1])
    return {
        "near-copies": share,
        "near-copies/nearer": nearer,
        "near-copies/new": len(new.distances),
    }


MEASURES = (
    Measure({"fid": "lower"}, _fid),
    Measure(
        {"kid": "lower"},
        _kid,
        {
            "kernel": "(x.y / D + 1)^3",
            "subsets": kernel.SUBSETS,
            "of at most": kernel.SUBSET_SIZE,
        },
    ),
    Measure(
        {"is": "higher"},
        _inception_score,
        {"splits": isc.SPLITS},
        frozenset({"logits"}),
        least=isc.SPLITS,
    ),
    Measure(
        {"precision": "higher", "recall": "higher"},
        _precision_recall,
        {"k": pr.NEIGHBORS, "at most": NEIGHBORHOOD},
        least=pr.NEIGHBORS + 1,
    ),
    Measure(
        {"density": "higher", "coverage": "higher"},
        _density_coverage,
        {"k": dc.NEIGHBORS, "at most": NEIGHBORHOOD},
        least=dc.NEIGHBORS + 1,
    ),
    Measure({"intra-fid": "lower"}, _intra_fid, needs=frozenset({"labels"})),
    Measure(
        {"class-accuracy": "higher"},
        _class_accuracy,
        {"penalty": PENALTY, "standardized": True, "solver": SOLVER, "iterations": MAX_ITERATIONS},
        frozenset({"labels", "train"}),
        version=2,  # its real pictures are those that are not in the train split
    ),
    Measure(
        {"near-copies": "neither"},
        _near_copies,
        {"share": nc.NEAREST, "at most": NEIGHBORHOOD},
        frozenset({"train"}),
        version=2,  # new are pictures that are not in the train split; its own copies count once
    ),
)
METRICS = {name: measure for measure in MEASURES for name in measure.better}
DEFAULT_METRICS = ("fid", "kid", "precision", "recall", "density", "coverage")
