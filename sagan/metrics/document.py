"""An evaluation as it is kept: the numbers with everything that they depend on."""

from collections.abc import Iterator, Mapping
from typing import Any

from sagan.metrics.measures.inception_score import SPLITS
from sagan.metrics.measures.near_copies import NEAREST
from sagan.metrics.measures.table import METRICS
from sagan.metrics.plan import EvaluationPlan
from sagan.metrics.protocol import COMPUTED_WITH, identity, published_name
from sagan.runtime.environment import describe_environment

FORMAT = 1
FEW = 5  # pictures for each feature: with fewer a Frechet distance is mostly bias
FEW_NEW = 1000  # new pictures: with fewer the nearest hundredth of them is a handful


def document(plan: EvaluationPlan, values: Mapping[str, float]) -> dict[str, Any]:
    """What `evaluate` returns, ready for JSON.

    Args:
        plan: what was measured.
        values: the numbers, by the names that --metrics takes.
    """
    names = {name: published_name(name, plan.network) for name in values}
    return {
        "format": FORMAT,
        "metrics": {names[name]: value for name, value in values.items()},
        "better": {names[name]: METRICS[name].better[name] for name in plan.metrics},
        "notes": [*_notes(plan), *_notes_on(plan, values)],
        "protocol": {
            "features": plan.network.protocol(),
            "reference": identity(plan.reference),
            "samples": _samples_protocol(plan),
            "metrics": {names[name]: _metric_protocol(plan, name) for name in plan.metrics},
        },
        "model": {
            "origin": plan.model.origin,
            "step": plan.model.step,
            "sha256": plan.model.sha256(plan.samples.weights),
        },
        "environment": describe_environment(*COMPUTED_WITH),
    }


def _samples_protocol(plan: EvaluationPlan) -> dict[str, Any]:
    labels = "none"
    if plan.model.classes:
        labels = "as often as in the reference" if plan.same_classes else "equally often"
    return {
        "pictures": plan.samples.num,
        "weights": plan.samples.weights,
        "batch norm": "running statistics",
        "truncation": float(plan.samples.truncation),  # 1 is 1.0
        "seed": plan.samples.seed,
        "labels": labels,
        "quantization": "uint8, to the nearest",
        "precision": "float32",
    }


def _metric_protocol(plan: EvaluationPlan, name: str) -> dict[str, Any]:
    measure = METRICS[name]
    protocol = {"version": measure.version, **measure.protocol}
    if "train" in measure.needs:
        protocol |= {"train": identity(plan.train), "trained on these": plan.trained_on_these}
    return protocol


def _notes(plan: EvaluationPlan) -> Iterator[str]:
    """What a reader should know of these numbers."""
    name = published_name("fid", plan.network)
    if plan.network.title and "fid" in plan.metrics:
        yield f"{name} is no FID and compares with no published one: --features inception"
    if plan.model.fit != plan.reference.fit:
        yield (
            f"the model's pictures were made square by {plan.model.fit}, the reference's by "
            f"{plan.reference.fit}: unless they were square before, they differ in more than "
            "the model"
        )
    if plan.model.classes and plan.reference.classes and not plan.same_classes:
        yield "the model draws its classes equally often: the reference has others"
    if plan.uses_train and plan.trained_on_these == "no":
        yield (
            f"{plan.train.source} ({plan.train.split}) is not what the model was trained on: "
            "copies of what it was trained on are not found"
        )
    parts = plan.samples.num // SPLITS
    if "is" in plan.metrics and parts < plan.network.num_logits:
        yield (
            f"{published_name('is', plan.network)} is biased downwards: {parts:,} samples in "
            f"each part are few for {plan.network.num_logits:,} classes. Compare it at equal "
            "numbers only"
        )
    counts = {"fid": min(plan.samples.num, len(plan.reference))}
    if "intra-fid" in plan.metrics:
        counts["intra-fid"] = int(plan.of_each_class().min())
    for metric, number in counts.items():
        if metric in plan.metrics and number < FEW * plan.network.width:
            yield (
                f"{published_name(metric, plan.network)} is biased upwards: {number:,} pictures"
                f" are few for {plan.network.width:,} features. Compare it at equal numbers "
                f"only, or use {published_name('kid', plan.network)}, which is unbiased"
            )


def _notes_on(plan: EvaluationPlan, values: Mapping[str, float]) -> Iterator[str]:
    """What only the numbers tell."""
    new = values.get("near-copies/new", FEW_NEW)
    if new < FEW_NEW:
        yield (
            f"near-copies is coarse: {new:,} new pictures are few to find the nearest "
            f"{NEAREST:.0%} of"
        )
    classes = values.get("intra-fid/classes", len(plan.reference.classes))
    if classes < len(plan.reference.classes):
        yield (
            f"{published_name('intra-fid', plan.network)} is the mean over {classes} of "
            f"{len(plan.reference.classes)} classes: the others have fewer than two pictures"
        )
