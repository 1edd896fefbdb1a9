"""From samples and real images to numbers, with the protocol they were measured under."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from sagan.data import PackedDataset
from sagan.data.duplicates import first_of_each, image_hashes
from sagan.errors import SaganError, reason
from sagan.images.credits import joined_credits
from sagan.metrics.arrays import DatasetInMemory, ValueRange
from sagan.metrics.document import evaluation_document
from sagan.metrics.features.extraction import (
    FEATURES,
    LOGITS,
    DrawImages,
    extract,
    map_array,
    no_progress,
)
from sagan.metrics.features.network import DEFAULT_FEATURES, FeatureNetwork, open_network
from sagan.metrics.features.reference import reference_features
from sagan.metrics.measures.distances import Neighbors
from sagan.metrics.measures.inputs import Features, MetricInputs
from sagan.metrics.measures.table import DEFAULT_METRICS, Measure
from sagan.metrics.neighbors import draw_neighbors, samples_to_show
from sagan.metrics.opening import (
    ImagesLike,
    OpenedImages,
    SamplesLike,
    open_reference,
    open_samples,
    sample_set,
)
from sagan.metrics.plan import EvaluationPlan, check_request
from sagan.metrics.samples import SamplePlan
from sagan.runtime.processes import check_agreement, join_processes
from sagan.runtime.watch import waiting_for
from sagan.types import Float32Array, Int64Array, NamedProgress


def evaluate(
    samples: SamplesLike,
    reference: ImagesLike,
    *,
    train: PackedDataset | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    network: FeatureNetwork | None = None,
    plan: SamplePlan | None = None,
    neighbors: Path | None = None,
    value_range: ValueRange | None = None,
    observe: Callable[[MetricInputs], None] | None = None,
    progress: NamedProgress = no_progress,
) -> dict[str, Any]:
    """Measure how close a model's samples, or any generator's images, are to real images.

    Under `accelerate launch` or `torchrun` every process calls this: each generates its share of
    the samples, the main process computes the metrics, and all return the result.

    Args:
        samples: a trained model, or where it is; or images: where they are (a folder, a zip ...),
            a data set, or an array or tensor, uint8 or floating-point, (N, H, W, 3) or
            (N, 3, H, W), or a pair of that and labels (N,).
        reference: real images of the samples' size: a data set, where one is, or in memory.
        train: the images that the model was trained on, if `reference` is another set. Only
            "class-accuracy", "gan-train", "near-copies" and `neighbors` use them.
        metrics: names in `METRICS`.
        network: computes features of images; by default EfficientNet-Lite0.
        plan: which samples; by default 10,000 of the averaged generator, or the first 10,000 images
            with every class in proportion, or all if there are fewer.
        neighbors: FILE.png for samples beside their nearest training images.
        value_range: the values of black and white in floating-point images, such as (-1, 1).
        observe: called in the main process with what the metrics were computed from.
        progress: called in the main process.

    Returns:
        A document ready for JSON: "metrics" {name: number}, "better" {name: "higher", "lower" or
        "neither"}, "protocol", "notes" (lines that a reader of the numbers should know), "model"
        and "environment". A distance is named after its features: "FID" with the canonical
        Inception weights, otherwise for example "FD-EfficientNet".

    Raises:
        SaganError: something does not fit, or is missing.
    """
    join_processes()
    plan = plan or SamplePlan()
    check_request(metrics, plan, neighbors)
    opened = open_samples(samples, value_range)
    real = open_reference(reference, opened, value_range)
    whole_plan = EvaluationPlan(
        samples=sample_set(opened, real, plan),
        reference=real,
        train=train or real,
        metrics=tuple(dict.fromkeys(metrics)),
        network=network or open_network(DEFAULT_FEATURES),
        neighbors=neighbors,
    )
    whole_plan.check()
    facts = {"the images' fingerprint": real.fingerprint[:16]}
    if isinstance(opened, OpenedImages):
        facts["the samples' fingerprint"] = opened.dataset.fingerprint[:16]
    check_agreement(facts, "give all the same images")
    return evaluation_document(whole_plan, _measure(whole_plan, observe, progress))


def _measure(
    plan: EvaluationPlan,
    observe: Callable[[MetricInputs], None] | None,
    progress: NamedProgress,
) -> dict[str, float]:
    """Compute the metrics, by the names of --metrics; every process returns the same.

    Raises:
        SaganError: the disk is full, or a packed set is damaged.
    """
    processes = join_processes()
    plan.network.module.to(processes.device)
    draw = plan.samples.drawing(plan.reference, processes.device)
    found: list[Any] = [None]
    try:
        with tempfile.TemporaryDirectory(prefix="sagan-") as folder:
            inputs = _inputs(plan, draw, Path(folder), processes, progress)
            if inputs is not None:
                found[0] = _compute(plan.measures, inputs, progress)
                _draw_neighbors(plan, inputs, draw)
                if observe is not None:
                    observe(inputs)
                del inputs  # some systems cannot remove files that are mapped
    except OSError as error:
        place = tempfile.gettempdir()
        raise SaganError(f"cannot write features to '{place}': {reason(error)}") from None
    with waiting_for("the main process to compute the metrics"):
        broadcast_object_list(found)
    values: dict[str, float] = found[0]
    return {name: v for name, v in values.items() if name.partition("/")[0] in plan.metrics}


def _draw_neighbors(plan: EvaluationPlan, inputs: MetricInputs, draw: DrawImages) -> None:
    if not plan.neighbors:
        return
    near = inputs.nearest_training
    shown = samples_to_show(near)
    images = np.concatenate([draw(number, number + 1) for number in shown])
    chosen = Neighbors(near.distances[shown], near.indices[shown])
    credits = joined_credits(plan.samples.credits, plan.train.credits)
    draw_neighbors(images, shown, chosen, plan.train.images, plan.neighbors, credits)


def _inputs(
    plan: EvaluationPlan,
    draw: DrawImages,
    folder: Path,
    processes: PartialState,
    progress: NamedProgress,
) -> MetricInputs | None:
    """Extract all features; return them in the main process, None in the others."""
    network = plan.network
    widths = {FEATURES: network.width}
    if any("logits" in measure.needs for measure in plan.measures):
        widths[LOGITS] = network.num_logits
    num = plan.samples.num
    extract(network, draw, num, folder, processes, "samples", progress, tuple(widths))

    reference = _real_features(plan.reference, network, folder, processes, progress)
    train = reference
    if plan.uses_train and plan.train is not plan.reference:
        train = _real_features(plan.train, network, folder / "train", processes, progress)
    if reference is None or train is None:
        return None
    unseen, distinct = _unseen_and_distinct(plan)
    found = {name: map_array(folder / name, num, n) for name, n in widths.items()}
    return MetricInputs(
        samples=Features(found[FEATURES], plan.labels()),
        logits=found.get(LOGITS, np.empty((num, 0), np.float32)),
        reference=Features(reference, plan.reference.labels),
        train=Features(train, plan.train.labels),
        unseen=unseen,
        distinct=distinct,
        seed=plan.samples.seed,
    )


def _real_features(
    dataset: PackedDataset,
    network: FeatureNetwork,
    folder: Path,
    processes: PartialState,
    progress: NamedProgress,
) -> Float32Array | None:
    """Return features of real images in the main process: from the cache, if they have a name."""
    if not isinstance(dataset, DatasetInMemory):
        return reference_features(dataset, network, processes, progress=progress)
    place = folder / "real"
    place.mkdir(parents=True)
    extract(
        network, lambda start, stop: dataset.images[start:stop], len(dataset), place, processes,
        "real images", progress,
    )  # fmt: skip
    return (
        map_array(place / FEATURES, len(dataset), network.width)
        if processes.is_main_process
        else None
    )


def _unseen_and_distinct(plan: EvaluationPlan) -> tuple[Int64Array, Int64Array]:
    """Return rows of real images that are not training images, and of distinct training images."""
    if not plan.uses_train:
        return np.arange(0), np.arange(0)
    train = image_hashes(plan.train.images)
    reference = train if plan.train is plan.reference else image_hashes(plan.reference.images)
    return np.flatnonzero(~np.isin(reference, train)), first_of_each(train)


def _compute(
    measures: Sequence[Measure], inputs: MetricInputs, progress: NamedProgress
) -> dict[str, float]:
    values: dict[str, float] = {}
    for measure in measures:
        what = " and ".join(measure.better)
        progress(what, 0, 1)
        values |= measure.run(inputs)
        progress(what, 1, 1)
    return values
