"""From a request to `sagan evaluate` to numbers: open the data, load the network, evaluate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagan.data import PackedDataset
from sagan.data.sources.tree import DEFAULT_SPLIT
from sagan.metrics.evaluation import evaluate
from sagan.metrics.features.network import check_features, open_network
from sagan.metrics.measures.table import METRICS
from sagan.metrics.opening import OpenedSamples, are_images, open_real_images, open_samples
from sagan.metrics.plan import check_request, uses_train_images
from sagan.metrics.samples import ModelSamples, SamplePlan
from sagan.model import Model
from sagan.runtime.processes import join_processes, local_main_process_first
from sagan.storage.files import check_writable
from sagan.types import NamedProgress, Notify, Progress


@dataclass(frozen=True)
class EvaluationRequest:
    """What to measure, in the user's words.

    Attributes:
        samples: a model, or images that any generator made.
        data: where the real images are.
        split: the split that is the reference.
        metrics: names, separated by commas.
        features: name of the feature network.
        weights: a file with that network's weights, if it is not the published one.
        plan: which samples.
        neighbors: FILE.png for samples beside their nearest training images.
        json_file: where to save the numbers.
    """

    samples: str
    data: str
    split: str
    metrics: str
    features: str
    weights: Path | None
    plan: SamplePlan
    neighbors: Path | None
    json_file: Path | None

    @property
    def names(self) -> list[str]:
        """Names of the metrics."""
        return [name.strip() for name in self.metrics.split(",")]

    @property
    def needs_train(self) -> bool:
        """Whether images of the train split are needed besides the reference."""
        return uses_train_images(self.names, self.neighbors) and self.split != DEFAULT_SPLIT


def evaluate_request(
    request: EvaluationRequest,
    notify: Notify,
    packing: Progress,
    progress: NamedProgress,
) -> dict[str, Any]:
    """Open what a request needs, and evaluate.

    Args:
        request: what to measure.
        notify: called with each line for the user.
        packing: called while images are packed.
        progress: called while numbers are computed.

    Returns:
        What `sagan.metrics.evaluate` returns.

    Raises:
        SaganError: something does not fit, or is missing.
    """
    check_request(request.names, request.plan, request.neighbors)
    check_features(request.features)
    for out in (request.json_file, request.neighbors):
        if out is not None:
            check_writable(out)
    join_processes()
    samples = _open_samples(request, notify, packing)

    def opened(split: str) -> PackedDataset:
        return open_real_images(request.data, samples, split, notify, packing)

    # The first process of a machine packs and downloads; the others find it in the cache.
    with local_main_process_first():
        reference = opened(request.split)
        train = opened(DEFAULT_SPLIT) if request.needs_train else None
        network = open_network(request.features, request.weights)
    return evaluate(
        samples, reference, train=train, metrics=request.names, network=network, plan=request.plan,
        neighbors=request.neighbors, progress=progress,
    )  # fmt: skip


def _open_samples(request: EvaluationRequest, notify: Notify, packing: Progress) -> OpenedSamples:
    if are_images(request.samples):
        with local_main_process_first():
            return open_samples(request.samples, notify=notify, progress=packing)
    model = open_samples(request.samples)  # the processes agree on a checkpoint
    if isinstance(model, Model):
        for name in request.names:
            if "labels" in METRICS[name].needs:
                ModelSamples(model, request.plan).require_labels(name)
    return model
