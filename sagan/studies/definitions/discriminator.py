"""Do D's features classify better with attention, although D is trained without labels?"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from sagan.build import build_networks
from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.metrics.features.network import DEFAULT_DISTANCE
from sagan.model import load_discriminator
from sagan.nn.base import DiscriminatorBase
from sagan.runtime.processes import join_processes
from sagan.studies.measure.blocks import accuracy_by_block
from sagan.studies.measure.probes import (
    LABEL_DRAWS,
    MIN_IMAGES_PER_CLASS,
    PENALTIES,
    PROBE_NEIGHBORS,
    LabeledFeatures,
    accuracy_interval,
    few_label_accuracy,
    linear_hits,
    neighbor_hits,
)
from sagan.studies.measure.quality import measure_quality, prepare_reference
from sagan.studies.measure.supervised import train_supervised
from sagan.studies.measure.train import (
    kept_curves,
    last_values,
    parameters_of,
    seconds_per_step,
    train_run,
)
from sagan.studies.run import NetworkName, RunMetrics, RunObserver, StudyData, StudyRun
from sagan.studies.study import (
    ATTENTION_NOTE,
    COMMON_SETTINGS,
    DROPPED_COLUMN,
    SMALLEST_ACCURACY,
    Chart,
    Claim,
    Column,
    Study,
    Variant,
)
from sagan.types import Float32Array, NamedProgress, UInt8Array

LABELS_PER_CLASS = (10, 100)  # of the probes with few labels
# Names of numbers and of a curve in a result.
LINEAR_ACCURACY = "accuracy"
NEIGHBOR_ACCURACY = f"accuracy, {PROBE_NEIGHBORS} nearest"
ACCURACY_BY_LABELS = "accuracy by labels"
DISTANCE_SAMPLES = 1000  # of G; their distance shows how far G and D have come
IMAGES_PER_PASS = 1024  # through the networks; an image's features depend on that image only

# From uint8 images (n, S, S, 3) to float32 features (n, D).
FeatureExtractor = Callable[[UInt8Array], Float32Array]
# What a variant's training, if it has any, gives: features, and what was measured of the training.
Trained = tuple[FeatureExtractor, RunMetrics]


def _adversarial(run: StudyRun, data: StudyData, observer: RunObserver) -> Trained:
    records = train_run(run, data, observer)
    samples = min(DISTANCE_SAMPLES, run.samples)
    document = measure_quality(run.folder, data, observer.progress, samples, ["kid"])
    curves = kept_curves(records)
    return _features_of(load_discriminator(run.folder)), RunMetrics(
        numbers={DEFAULT_DISTANCE: document["metrics"][DEFAULT_DISTANCE]}
        | last_values(curves, "gamma/", "attention/", "dropped"),
        curves=curves,
        parameters=parameters_of(run, data),
        protocol={"samples of G": document["protocol"]},
        step_seconds=seconds_per_step(records),
    )


def _untrained(run: StudyRun, data: StudyData, observer: RunObserver) -> Trained:
    _, network = build_networks(run.config, 0)
    return _features_of(network), RunMetrics(parameters=_parameters_of_d(run, data))


def _supervised(run: StudyRun, data: StudyData, observer: RunObserver) -> Trained:
    started = time.perf_counter()
    network = train_supervised(run.config, data.train, observer.progress)
    step_seconds = (time.perf_counter() - started) / run.config.steps
    metrics = RunMetrics(parameters=_parameters_of_d(run, data), step_seconds=step_seconds)
    return _features_of(network), metrics


def _pixels(run: StudyRun, data: StudyData, observer: RunObserver) -> Trained:
    return lambda images: images.reshape(len(images), -1).astype(np.float32), RunMetrics()


def _features_of(network: DiscriminatorBase) -> FeatureExtractor:
    return network.to(join_processes().device).features


def _parameters_of_d(run: StudyRun, data: StudyData) -> dict[NetworkName, int]:
    return {"discriminator": parameters_of(run, data)["discriminator"]}


_TRAINERS: dict[str, Callable[[StudyRun, StudyData, RunObserver], Trained]] = {
    "attention": _adversarial,
    "none": _adversarial,
    "untrained": _untrained,
    "pixels": _pixels,
    "supervised": _supervised,
}


def check_and_prepare(data: StudyData, progress: NamedProgress) -> None:
    """Check the labels, and compute the features that samples of G are measured against.

    Raises:
        SaganError: see `check_classes`.
    """
    check_classes(data)
    prepare_reference(data, progress)


def check_classes(data: StudyData) -> None:
    """Check that both splits have the same classes, and that each class has enough images.

    Raises:
        SaganError: they do not.
    """
    train, test = data.train, data.splits["test"]
    if train.labels is None or train.classes != test.classes:
        raise SaganError(
            "the study discriminator needs images with the same classes in train and test, but "
            f"'{train.source}' has {train.num_classes} classes in train and {test.num_classes} in "
            "test: put the images into train/CLASS and test/CLASS"
        )
    fewest = int(np.bincount(train.labels, minlength=train.num_classes).min())
    if train.num_classes < 2 or fewest < MIN_IMAGES_PER_CLASS:
        raise SaganError(
            f"the study discriminator needs two or more classes with at least "
            f"{MIN_IMAGES_PER_CLASS} training images each, but '{train.source}' has "
            f"{train.num_classes} classes, the smallest with {fewest}: give more images"
        )


def perform(run: StudyRun, data: StudyData, observer: RunObserver) -> RunMetrics:
    """Train a network, unless the variant has none, and probe its features of all images."""
    extractor, trained = _TRAINERS[run.variant](run, data, observer)
    train, test = (
        _extract(extractor, data.splits[split], f"features of {split}", observer.progress)
        for split in ("train", "test")
    )
    seed = run.config.seed
    observer.progress("probing", 0, 1)
    by_labels: dict[float, float] = {
        per_class: accuracy
        for per_class in LABELS_PER_CLASS
        if (accuracy := few_label_accuracy(train, test, per_class, seed)) is not None
    }
    hits, penalty = linear_hits(train, test, seed)
    hits_of_neighbors = neighbor_hits(train, test)
    linear = float(hits.mean())
    low, high = accuracy_interval(linear, len(test))
    numbers = {
        LINEAR_ACCURACY: linear,
        f"{LINEAR_ACCURACY}, low": low,
        f"{LINEAR_ACCURACY}, high": high,
        f"{LINEAR_ACCURACY}, penalty": penalty,
        NEIGHBOR_ACCURACY: float(hits_of_neighbors.mean()),
        "features": float(train.features.shape[1]),
        **{f"{LINEAR_ACCURACY}, {n} labels per class": value for n, value in by_labels.items()},
    }
    observer.progress("probing", 1, 1)
    by_labels[len(train) / data.train.num_classes] = linear
    return replace(
        trained,
        numbers=trained.numbers | numbers,
        curves=trained.curves | {ACCURACY_BY_LABELS: list(by_labels.items())},
        protocol=trained.protocol | _protocol(data),
        blocks={
            LINEAR_ACCURACY: accuracy_by_block(hits),
            NEIGHBOR_ACCURACY: accuracy_by_block(hits_of_neighbors),
        },
    )


def _extract(
    extractor: FeatureExtractor, dataset: PackedDataset, what: str, progress: NamedProgress
) -> LabeledFeatures:
    """Return the features of a whole split."""
    parts = []
    for start in range(0, len(dataset), IMAGES_PER_PASS):
        stop = min(start + IMAGES_PER_PASS, len(dataset))
        parts.append(extractor(dataset.images[start:stop]))
        progress(what, stop, len(dataset))
    assert dataset.labels is not None
    return LabeledFeatures(np.concatenate(parts), dataset.labels)


def _protocol(data: StudyData) -> dict[str, Any]:
    return {
        **data.fingerprints(),
        "features": "before D's last layer, float32, standardized",
        "linear": {"penalty": list(PENALTIES), "draws of few labels": LABEL_DRAWS},
        "nearest": PROBE_NEIGHBORS,
    }


_WITH_ATTENTION = {"attention_d": (16,)}

STUDY = Study(
    name="discriminator",
    question="Do the features of a discriminator with attention classify images better?",
    settings={"conditional": False, "attention_block": "attention", **COMMON_SETTINGS},
    variants=(
        Variant("attention", "D with attention at 16 x 16", lambda _: _WITH_ATTENTION),
        Variant("none", "D without attention", lambda _: {"attention_d": ()}),
        Variant("untrained", "D with attention, untrained", lambda _: _WITH_ATTENTION),
        Variant("pixels", "the pixels themselves", lambda _: _WITH_ATTENTION),
        Variant(
            "supervised", "D's architecture, trained on the labels", lambda _: _WITH_ATTENTION
        ),
    ),
    prepare=check_and_prepare,
    perform=perform,
    claims=(
        Claim(
            "Linear classification is better on features of D with attention than on those of D "
            "without",
            LINEAR_ACCURACY, "higher", "attention", "none",
        ),
        Claim(
            "Nearest-neighbor classification is better on features of D with attention than on "
            "those of D without",
            NEIGHBOR_ACCURACY, "higher", "attention", "none",
        ),
        Claim(
            "Features of an adversarially trained D classify better than those of an untrained D",
            LINEAR_ACCURACY, "higher", "attention", "untrained",
        ),
        Claim(
            "Features of D with attention classify better than pixels",
            LINEAR_ACCURACY, "higher", "attention", "pixels",
        ),
        Claim(
            "Features learned from labels classify better than those of D with attention",
            LINEAR_ACCURACY, "higher", "supervised", "attention",
        ),
    ),
    columns=(
        Column(LINEAR_ACCURACY, "linear", ".1%"),
        Column(f"{LINEAR_ACCURACY}, low", "from", ".1%", of_runs=True),
        Column(f"{LINEAR_ACCURACY}, high", "to", ".1%", of_runs=True),
        Column(f"{LINEAR_ACCURACY}, penalty", "penalty", ".0e", of_runs=True),
        *(
            Column(f"{LINEAR_ACCURACY}, {n} labels per class", f"{n} labels per class", ".1%")
            for n in LABELS_PER_CLASS
        ),
        Column(NEIGHBOR_ACCURACY, f"{PROBE_NEIGHBORS} nearest", ".1%"),
        Column("features", "features", ".0f"),
        Column(DEFAULT_DISTANCE, f"{DEFAULT_DISTANCE} of G", ".4f"),
        DROPPED_COLUMN,
    ),
    smallest=dict.fromkeys((LINEAR_ACCURACY, NEIGHBOR_ACCURACY), SMALLEST_ACCURACY),
    charts=(
        Chart(
            "Accuracy of the linear probe by labels per class",
            ACCURACY_BY_LABELS,
            x="labels per class",
            log_x=True,
        ),
        Chart("Absolute value of gamma in D", "gamma/discriminator.*"),
        Chart(
            "Share of keys with half of D's attention (uniform: 0.5)",
            "attention/discriminator.*/concentration",
        ),
    ),
    splits=("train", "test"),
    notes=(
        "All networks except the supervised one are trained without labels. G is the same in all "
        "adversarial runs; only D differs in attention.",
        "Features are those before D's last linear layer, summed over positions: what D itself "
        "classifies linearly. Whole feature maps would give more numbers, which favors networks "
        "that preserve most of the image.",
        '"from" and "to" are the ends of Wilson\'s interval of a run\'s linear accuracy, which '
        "covers only the choice of test images. Intervals of differences are over seeds, for this "
        "test split.",
        f"{DEFAULT_DISTANCE} of G is measured on {DISTANCE_SAMPLES:,} samples against the training "
        "images: how far the two networks have come.",
        ATTENTION_NOTE,
    ),
)  # fmt: skip
