"""From what `sagan evaluate` was asked for to numbers: the data, the features, the files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagan.data import PackedDataset, open_dataset
from sagan.data.sources.tree import DEFAULT_SPLIT
from sagan.metrics.evaluation import evaluate, open_together
from sagan.metrics.features.network import open_network
from sagan.metrics.plan import SamplePlan, check_conditional, check_request, looks_at_train
from sagan.runtime.processes import join_processes
from sagan.storage.files import check_writable
from sagan.types import NamedProgress, Notify, Progress


@dataclass(frozen=True)
class Request:
    """What is to be measured, in the user's words.

    Attributes:
        model: a run directory, a model file or a shipped model.
        data: where the real pictures are.
        split: which of them are the reference.
        metrics: names, separated by commas.
        features: of which network.
        weights: a file with that network's weights.
        plan: which samples.
        neighbors: FILE.png for samples beside their nearest training pictures.
        json_file: where the numbers are to be kept.
    """

    model: str
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
        return [name.strip() for name in self.metrics.split(",")]

    @property
    def asks_for_train(self) -> bool:
        """Whether pictures of the train split are looked at besides the reference."""
        return looks_at_train(self.names, self.neighbors) and self.split != DEFAULT_SPLIT


def run(
    request: Request, notify: Notify, packing: Progress, progress: NamedProgress
) -> dict[str, Any]:
    """Open what is needed and evaluate; see `sagan.metrics.evaluate`.

    Args:
        request: what is asked for.
        notify: called with a line for each thing that the user should hear.
        packing: called while pictures are packed.
        progress: called while numbers are computed.

    Raises:
        SaganError: something does not fit, or is not there.
    """
    check_request(request.names, request.plan, request.neighbors)
    for out in (request.json_file, request.neighbors):
        if out is not None:
            check_writable(out)
    processes = join_processes()
    model = open_together(request.model, processes)
    check_conditional(request.names, model)

    def opened(split: str) -> PackedDataset:
        return open_dataset(
            request.data, model.config.resolution, split=split, fit=model.fit, notify=notify,
            progress=packing,
        )  # fmt: skip

    # The first process of a machine packs and downloads; the others find it in the cache.
    with processes.local_main_process_first():
        reference = opened(request.split)
        train = opened(DEFAULT_SPLIT) if request.asks_for_train else None
        network = open_network(request.features, request.weights)
    return evaluate(
        model, reference, train=train, metrics=request.names, network=network, plan=request.plan,
        neighbors=request.neighbors, progress=progress,
    )  # fmt: skip
