"""Do D's features classify better with attention, though nobody told D the classes?"""

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
from sagan.runtime.device import default_device
from sagan.studies.measure.probes import (
    DRAWS,
    LEAST,
    NEIGHBORS,
    PENALTIES,
    Labeled,
    accuracy_interval,
    few_label_accuracy,
    linear_accuracy,
    neighbor_accuracy,
)
from sagan.studies.measure.quality import measure, prepare_reference
from sagan.studies.measure.supervised import train_supervised
from sagan.studies.measure.train import (
    kept_curves,
    last_values,
    parameters_of,
    seconds_per_step,
    train_run,
)
from sagan.studies.run import Data, Findings, Network, Run, Watch
from sagan.studies.study import (
    ALIKE,
    DROPPED,
    READING_ATTENTION,
    Chart,
    Claim,
    Column,
    Study,
    Variant,
)
from sagan.types import Float32Array, NamedProgress, UInt8Array

FEW = (10, 100)  # labels per class
LINEAR, NEAREST, FEW_LABELS = "accuracy", f"accuracy, {NEIGHBORS} nearest", "accuracy by labels"
SAMPLES = 1000  # that say how far G and D have come
CHUNK = 1024  # pictures at a time; a picture's features depend on that picture only

Look = Callable[[UInt8Array], Float32Array]  # uint8 (n, S, S, 3) -> features float32 (n, D)


def _adversarial(run: Run, data: Data, watch: Watch) -> tuple[Look, Findings]:
    records = train_run(run, data, watch)
    document = measure(run.folder, data, watch.progress, SAMPLES, ["kid"])
    curves = kept_curves(records)
    return _seen_by(load_discriminator(run.folder)), Findings(
        numbers={DEFAULT_DISTANCE: document["metrics"][DEFAULT_DISTANCE]}
        | last_values(curves, "gamma/", "attention/", "dropped"),
        curves=curves,
        parameters=parameters_of(run, data),
        protocol={"samples of G": document["protocol"]},
        step_seconds=seconds_per_step(records),
    )


def _untrained(run: Run, data: Data, watch: Watch) -> tuple[Look, Findings]:
    _, network = build_networks(run.config, 0)
    return _seen_by(network), Findings(parameters=_of_d(run, data))


def _supervised(run: Run, data: Data, watch: Watch) -> tuple[Look, Findings]:
    started = time.perf_counter()
    network = train_supervised(run.config, data.train, watch.progress)
    step_seconds = (time.perf_counter() - started) / run.config.steps
    return _seen_by(network), Findings(parameters=_of_d(run, data), step_seconds=step_seconds)


def _pixels(run: Run, data: Data, watch: Watch) -> tuple[Look, Findings]:
    return lambda images: images.reshape(len(images), -1).astype(np.float32), Findings()


def _seen_by(network: DiscriminatorBase) -> Look:
    return network.to(default_device()).features


def _of_d(run: Run, data: Data) -> dict[Network, int]:
    return {"discriminator": parameters_of(run, data)["discriminator"]}


# What is asked about: what makes features of pictures, and what is known of how it came about.
_LEARNERS: dict[str, Callable[[Run, Data, Watch], tuple[Look, Findings]]] = {
    "attention": _adversarial,
    "none": _adversarial,
    "untrained": _untrained,
    "pixels": _pixels,
    "supervised": _supervised,
}


def prepare(data: Data, progress: NamedProgress) -> None:
    """Insist on labels, and compute what samples are measured against.

    Raises:
        SaganError: see `check_labels`.
    """
    check_labels(data)
    prepare_reference(data, progress)


def check_labels(data: Data) -> None:
    """Insist on labels that mean the same in both splits, and on enough of each to tell apart.

    Raises:
        SaganError: there are none, or others, or too few.
    """
    train, test = data.train, data.splits["test"]
    if train.labels is None or train.classes != test.classes:
        raise SaganError(
            f"the study of the discriminator needs labels, the same in train and test: "
            f"{train.source} has {train.num_classes} classes in train and {test.num_classes} in "
            "test; put the pictures into train/CLASS and test/CLASS"
        )
    fewest = int(np.bincount(train.labels, minlength=train.num_classes).min())
    if train.num_classes < 2 or fewest < LEAST:
        raise SaganError(
            f"the study of the discriminator needs two classes of {LEAST} training pictures or "
            f"more: {train.source} has {train.num_classes}, the smallest of {fewest}"
        )


def perform(run: Run, data: Data, watch: Watch) -> Findings:
    """Train, or not, and ask two classifiers what the features of all pictures say."""
    look, learned = _LEARNERS[run.variant](run, data, watch)
    train, test = (
        _looked_at(look, data.splits[split], f"features of {split}", watch.progress)
        for split in ("train", "test")
    )
    seed = run.config.seed
    watch.progress("probing", 0, 1)
    by_labels: dict[float, float] = {
        per_class: accuracy
        for per_class in FEW
        if (accuracy := few_label_accuracy(train, test, per_class, seed)) is not None
    }
    linear, penalty = linear_accuracy(train, test, seed)
    low, high = accuracy_interval(linear, len(test))
    numbers = {
        LINEAR: linear,
        f"{LINEAR}, low": low,
        f"{LINEAR}, high": high,
        f"{LINEAR}, penalty": penalty,
        NEAREST: neighbor_accuracy(train, test),
        "features": float(train.features.shape[1]),
        **{f"{LINEAR}, {n} labels per class": value for n, value in by_labels.items()},
    }
    watch.progress("probing", 1, 1)
    by_labels[len(train) / data.train.num_classes] = linear
    return replace(
        learned,
        numbers=learned.numbers | numbers,
        curves=learned.curves | {FEW_LABELS: list(by_labels.items())},
        protocol=learned.protocol | _protocol(data),
    )


def _looked_at(look: Look, dataset: PackedDataset, what: str, progress: NamedProgress) -> Labeled:
    """Features of a whole split."""
    parts = []
    for start in range(0, len(dataset), CHUNK):
        parts.append(look(dataset.images[start : start + CHUNK]))
        progress(what, min(start + CHUNK, len(dataset)), len(dataset))
    assert dataset.labels is not None
    return Labeled(np.concatenate(parts), dataset.labels)


def _protocol(data: Data) -> dict[str, Any]:
    return {
        **data.pictures(),
        "features": "before D's last layer, float32, standardized",
        "linear": {"penalty": list(PENALTIES), "draws of few labels": DRAWS},
        "nearest": NEIGHBORS,
    }


_WITH = {"attention_d": (16,)}

STUDY = Study(
    name="discriminator",
    question="Do the features of a discriminator with attention tell classes apart better?",
    settings={"conditional": False, "attention_block": "attention", **ALIKE},
    variants=(
        Variant("attention", "D with attention at 16 x 16", lambda _: _WITH),
        Variant("none", "D without attention", lambda _: {"attention_d": ()}),
        Variant("untrained", "D with attention, not trained", lambda _: _WITH),
        Variant("pixels", "the pixels themselves", lambda _: _WITH),
        Variant("supervised", "a network of D's shape, trained on the labels", lambda _: _WITH),
    ),
    prepare=prepare,
    perform=perform,
    claims=(
        Claim(
            "Features of D with attention classify better than those of D without, linearly",
            LINEAR, "higher", "attention", "none",
        ),
        Claim(
            "Features of D with attention classify better than those of D without, by neighbors",
            NEAREST, "higher", "attention", "none",
        ),
        Claim(
            "Adversarial training makes D's features classify better than an untrained D's",
            LINEAR, "higher", "attention", "untrained",
        ),
        Claim(
            "Features of D with attention classify better than pixels",
            LINEAR, "higher", "attention", "pixels",
        ),
        Claim(
            "Features learned from labels classify better than those of D with attention",
            LINEAR, "higher", "supervised", "attention",
        ),
    ),
    columns=(
        Column(LINEAR, "linear", ".1%"),
        Column(f"{LINEAR}, low", "from", ".1%", of_runs=True),
        Column(f"{LINEAR}, high", "to", ".1%", of_runs=True),
        Column(f"{LINEAR}, penalty", "penalty", ".0e", of_runs=True),
        *(Column(f"{LINEAR}, {n} labels per class", f"{n} labels a class", ".1%") for n in FEW),
        Column(NEAREST, f"{NEIGHBORS} nearest", ".1%"),
        Column("features", "features", ".0f"),
        Column(DEFAULT_DISTANCE, f"{DEFAULT_DISTANCE} of G", ".4f"),
        DROPPED,
    ),
    charts=(
        Chart(
            "Accuracy of the linear probe by labels per class",
            FEW_LABELS,
            x="labels per class",
            log_x=True,
        ),
        Chart("Size of gamma in D", "gamma/discriminator.*"),
        Chart(
            "Share of keys with half of D's attention, even 0.5",
            "attention/discriminator.*/concentration",
        ),
    ),
    splits=("train", "test"),
    notes=(
        "All networks are trained without labels, but the supervised one. G is the same in all "
        "adversarial runs; attention is there or not in D alone.",
        "Features are those before D's last linear layer, summed over positions: what D itself "
        "decides by, linearly. Maps would give more numbers, and with them an advantage to "
        "whatever keeps most of the picture.",
        '"from" and "to" are the ends of Wilson\'s interval of a run\'s linear accuracy, for the '
        "number of test pictures alone. Intervals of differences are over seeds, and hold for this "
        "test split.",
        f"{DEFAULT_DISTANCE} of G is of {SAMPLES:,} samples against the training pictures: how far "
        "the two networks had come.",
        READING_ATTENTION,
    ),
)  # fmt: skip
