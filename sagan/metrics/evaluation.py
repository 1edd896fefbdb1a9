"""From a trained model and real pictures to numbers, with the protocol that they hold under."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from sagan.data import PackedDataset
from sagan.data.duplicates import first_of_each, picture_hashes
from sagan.errors import SaganError
from sagan.metrics.document import document
from sagan.metrics.features.extraction import FEATURES, LOGITS, extract, map_array, silent
from sagan.metrics.features.network import DEFAULT_FEATURES, FeatureNetwork, open_network
from sagan.metrics.features.reference import reference_features
from sagan.metrics.measures.distances import Neighbors
from sagan.metrics.measures.inputs import Rows, Subject
from sagan.metrics.measures.table import DEFAULT_METRICS, Measure
from sagan.metrics.neighbors import draw_neighbors, suspects
from sagan.metrics.plan import EvaluationPlan, SamplePlan
from sagan.metrics.samples import Samples
from sagan.model import Model, open_model
from sagan.run.checkpoint import folder_of
from sagan.run.directory import is_run
from sagan.runtime.processes import join_processes
from sagan.storage.fsync import reason
from sagan.types import NamedProgress


def evaluate(
    model: Model | str | Path,
    reference: PackedDataset,
    *,
    train: PackedDataset | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    network: FeatureNetwork | None = None,
    plan: SamplePlan | None = None,
    neighbors: Path | None = None,
    progress: NamedProgress = silent,
) -> dict[str, Any]:
    """Measure how near a model's samples are to real pictures.

    Under `accelerate launch` or `torchrun` every process calls this: each draws its share of
    the samples, the main process computes, and all get the result.

    Args:
        model: a trained model, or where it is.
        reference: real pictures, of the model's resolution.
        train: the pictures that it was trained on, if `reference` are others. Only
            "class-accuracy" and "near-copies" look at them.
        metrics: names in `METRICS`.
        network: what makes features of pictures; by default EfficientNet-Lite0.
        plan: which samples; by default 10,000 of the averaged generator.
        neighbors: FILE.png for samples beside the training pictures nearest to them.
        progress: told in the main process what is being done.

    Returns:
        Ready for JSON: "metrics" {name: number}, "better" {name: "higher", "lower" or "neither"},
        "protocol", "notes" (lines that a reader of the numbers should know), "model" and
        "environment". A distance is named after its features: "FID" with the canonical Inception
        weights, else "FD-EfficientNet" and so on.

    Raises:
        SaganError: something does not fit, or is not there.
    """
    asked = EvaluationPlan(
        model=model if isinstance(model, Model) else open_together(model, join_processes()),
        reference=reference,
        train=train or reference,
        metrics=tuple(dict.fromkeys(metrics)),
        network=network or open_network(DEFAULT_FEATURES),
        samples=plan or SamplePlan(),
        neighbors=neighbors,
    )
    asked.check()
    return document(asked, _measured(asked, progress))


def open_together(name: str | Path, processes: PartialState) -> Model:
    """Open a model; of a run that goes on, all processes take what the first one found newest.

    Raises:
        SaganError: there is no such model, or it is damaged.
    """
    step: list[int | None] = [None]
    if processes.is_main_process:
        model = open_model(name)
        step[0] = model.step
    broadcast_object_list(step)
    if processes.is_main_process:
        return model
    newest = folder_of(Path(name), step[0] or 0)
    return replace(open_model(newest if is_run(Path(name)) else name), origin=str(name))


def _measured(plan: EvaluationPlan, progress: NamedProgress) -> dict[str, float]:
    """Compute the metrics, by the names that --metrics takes; the same in every process.

    Raises:
        SaganError: there is no room for features, or pictures are not what they were.
    """
    processes = join_processes()
    plan.network.module.to(processes.device)
    samples = _samples(plan, processes.device)
    found: list[Any] = [None]
    try:
        with tempfile.TemporaryDirectory(prefix="sagan-") as folder:
            subject = _subject(plan, samples, Path(folder), processes, progress)
            if subject is not None:
                found[0] = _computed(plan.measures, subject, progress)
                _draw_neighbors(plan, subject, samples)
                del subject  # files that are mapped cannot be removed everywhere
    except OSError as error:
        place = tempfile.gettempdir()
        raise SaganError(f"cannot keep features in {place}: {reason(error)}") from None
    broadcast_object_list(found)
    values: dict[str, float] = found[0]
    return {name: v for name, v in values.items() if name.partition("/")[0] in plan.metrics}


def _draw_neighbors(plan: EvaluationPlan, subject: Subject, samples: Samples) -> None:
    if plan.neighbors is None:
        return
    near = subject.nearest_training
    shown = suspects(near)
    pictures = np.concatenate([samples.draw(number, number + 1) for number in shown])
    chosen = Neighbors(near.distances[shown], near.indices[shown])
    draw_neighbors(pictures, shown, chosen, plan.train.images, plan.neighbors)


def _samples(plan: EvaluationPlan, device: torch.device) -> Samples:
    asked = plan.samples
    generator = plan.model.generator(asked.weights).to(device)
    return Samples(generator, asked.num, plan.labels(), asked.seed, asked.truncation)


def _subject(
    plan: EvaluationPlan,
    samples: Samples,
    folder: Path,
    processes: PartialState,
    progress: NamedProgress,
) -> Subject | None:
    """All features, in the main process; None in the others."""
    network = plan.network
    widths = {FEATURES: network.width}
    if any("logits" in measure.needs for measure in plan.measures):
        widths[LOGITS] = network.num_logits
    extract(
        network, samples.draw, samples.num, folder, processes, "samples", progress, tuple(widths)
    )
    reference = reference_features(plan.reference, network, processes, progress=progress)
    train = reference
    if plan.uses_train:
        train = reference_features(plan.train, network, processes, progress=progress)
    if reference is None or train is None:
        return None
    unseen = distinct = np.arange(0)
    if plan.uses_train:
        known = picture_hashes(plan.train.images)
        same = plan.train is plan.reference
        unseen = np.flatnonzero(
            ~np.isin(known if same else picture_hashes(plan.reference.images), known)
        )
        distinct = first_of_each(known)
    found = {name: map_array(folder / name, samples.num, n) for name, n in widths.items()}
    return Subject(
        samples=Rows(found[FEATURES], samples.labels),
        logits=found.get(LOGITS, np.empty((samples.num, 0), np.float32)),
        reference=Rows(reference, plan.reference.labels),
        train=Rows(train, plan.train.labels),
        unseen=unseen,
        distinct=distinct,
        seed=plan.samples.seed,
    )


def _computed(
    measures: Sequence[Measure], subject: Subject, progress: NamedProgress
) -> dict[str, float]:
    values: dict[str, float] = {}
    for measure in measures:
        what = " and ".join(measure.better)
        progress(what, 0, 1)
        values |= measure.run(subject)
        progress(what, 1, 1)
    return values
