"""An evaluation as a document: the numbers with everything that they depend on."""

from collections.abc import Iterator, Mapping
from typing import Any

from sagan.metrics.measures.inception_score import NUM_SPLITS
from sagan.metrics.measures.near_copies import NEAR_COPY_SHARE
from sagan.metrics.measures.table import METRICS
from sagan.metrics.plan import EvaluationPlan
from sagan.metrics.protocol import COMPUTED_WITH, dataset_identity, published_name
from sagan.runtime.environment import describe_environment

EVALUATION_FORMAT = 1
MIN_IMAGES_PER_FEATURE = 5  # with fewer, a Frechet distance is mostly bias
MIN_NEW_IMAGES = 1000  # with fewer, the nearest hundredth of them is a handful


def evaluation_document(plan: EvaluationPlan, values: Mapping[str, float]) -> dict[str, Any]:
    """Return what `evaluate` returns, ready for JSON.

    Args:
        plan: what was measured.
        values: the numbers, by the names of --metrics.
    """
    names = {name: published_name(name, plan.network) for name in values}
    return {
        "format": EVALUATION_FORMAT,
        "metrics": {names[name]: value for name, value in values.items()},
        "better": {names[name]: METRICS[name].better[name] for name in plan.metrics},
        "notes": [*_notes(plan), *_notes_on_values(plan, values)],
        "protocol": {
            "features": plan.network.protocol(),
            "reference": dataset_identity(plan.reference),
            "samples": plan.samples.protocol(plan.reference),
            "metrics": {names[name]: _metric_protocol(plan, name) for name in plan.metrics},
        },
        "model": plan.samples.identity(),
        "environment": describe_environment(*COMPUTED_WITH),
    }


def _metric_protocol(plan: EvaluationPlan, name: str) -> dict[str, Any]:
    measure = METRICS[name]
    protocol = {"version": measure.version, **measure.protocol}
    if "train" in measure.needs:
        protocol |= {
            "train": dataset_identity(plan.train),
            "trained on these": plan.trained_on_these,
        }
    return protocol


def _notes(plan: EvaluationPlan) -> Iterator[str]:
    """Yield what a reader of these numbers should know."""
    name = published_name("fid", plan.network)
    if plan.network.title and "fid" in plan.metrics:
        yield (
            f"{name} is not FID and cannot be compared with published FIDs: use --features "
            "inception for FID"
        )
    yield from plan.samples.notes(plan.reference, plan.network.name)
    if plan.uses_train and plan.trained_on_these == "no":
        yield (
            f"'{plan.train.source}' ({plan.train.split}) is not what the model was trained on: "
            "copies of its training images are not found"
        )
    if "gan-train" in plan.metrics and plan.train is plan.reference:
        yield (
            "gan-train is tested on images that the model may have been trained on: give --split "
            "test for others"
        )
    parts = plan.samples.num // NUM_SPLITS
    if "is" in plan.metrics and parts < plan.network.num_logits:
        yield (
            f"{published_name('is', plan.network)} is biased downwards: {parts:,} samples in "
            f"each part are few for {plan.network.num_logits:,} classes. Compare it only at equal "
            "numbers of samples"
        )
    counts = {"fid": min(plan.samples.num, len(plan.reference))}
    if "intra-fid" in plan.metrics:
        counts["intra-fid"] = int(plan.smallest_counts().min())
    for metric, number in counts.items():
        if metric in plan.metrics and number < MIN_IMAGES_PER_FEATURE * plan.network.width:
            yield (
                f"{published_name(metric, plan.network)} is biased upwards: {number:,} images are "
                f"few for {plan.network.width:,} features. Compare it only at equal numbers of "
                f"images, or use {published_name('kid', plan.network)}, which is unbiased"
            )


def _notes_on_values(plan: EvaluationPlan, values: Mapping[str, float]) -> Iterator[str]:
    """Yield what a reader should know that depends on the numbers themselves."""
    new = values.get("near-copies/new", MIN_NEW_IMAGES)
    if new < MIN_NEW_IMAGES:
        yield (
            f"near-copies is coarse: {new:,} new images are few to find the nearest "
            f"{NEAR_COPY_SHARE:.0%} among them"
        )
    if "gan-train/real" in values and len(plan.train) < plan.samples.num:
        yield (
            f"gan-train/real is fitted to all {len(plan.train):,} training images, which are fewer "
            "than the samples"
        )
    classes = values.get("intra-fid/classes", len(plan.reference.classes))
    if classes < len(plan.reference.classes):
        yield (
            f"{published_name('intra-fid', plan.network)} is the mean over {classes} of "
            f"{len(plan.reference.classes)} classes: the others have fewer than two images"
        )
