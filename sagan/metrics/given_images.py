"""Images that any generator made, as samples to measure: from files, or arrays in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.images.shape import ImageShape
from sagan.metrics.features.extraction import DrawImages
from sagan.metrics.protocol import NOT_STATED
from sagan.metrics.samples import DEFAULT_NUM, SamplePlan, matching_labels
from sagan.types import Int64Array


@dataclass(frozen=True)
class GivenImages:
    """The `SampleSet` of images that are given, whatever made them.

    Attributes:
        dataset: the images.
        rows: which of them are measured and in which order, int64 (num,).
        classes: those of the reference, if the images have labels of these.
        chosen_labels: of the rows, numbered as `classes`: int64 (num,), or None.
        seed: decides whatever is random in metrics.
        remarks: what a reader of the numbers should know.
    """

    dataset: PackedDataset
    rows: Int64Array
    classes: tuple[str, ...]
    chosen_labels: Int64Array | None
    seed: int
    remarks: tuple[str, ...] = ()
    possessive = "images'"

    @property
    def origin(self) -> str:
        return self.dataset.source

    @property
    def num(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> ImageShape:
        return self.dataset.shape

    @property
    def credits(self) -> str:
        return self.dataset.credits

    def require_labels(self, metric: str) -> None:
        if not self.dataset.classes:
            raise SaganError(
                f"{metric} needs images with labels, but '{self.origin}' has none: put them into "
                "one folder per class"
            )

    def labels(self, reference: PackedDataset) -> Int64Array | None:
        return self.chosen_labels

    def drawing(self, reference: PackedDataset, device: torch.device) -> DrawImages:
        return lambda start, stop: self.dataset.images[self.rows[start:stop]]

    def protocol(self, reference: PackedDataset) -> dict[str, Any]:
        return {
            "pictures": self.num,
            "weights": NOT_STATED,
            "batch norm": NOT_STATED,
            "truncation": NOT_STATED,
            "seed": self.seed,
            "labels": self._label_frequencies(reference),
            "quantization": NOT_STATED,
            "precision": NOT_STATED,
        }

    def _label_frequencies(self, reference: PackedDataset) -> str:
        """Describe how often each class occurs, in the words that models' protocols use."""
        if self.chosen_labels is None:
            return NOT_STATED
        found = np.sort(self.chosen_labels)
        wordings = (("as often as in the reference", reference), ("equally often", None))
        for words, shared in wordings:
            labels = matching_labels(self.num, len(self.classes), shared)
            if labels is not None and np.array_equal(np.sort(labels), found):
                return words
        return "as often as in the files"

    def identity(self) -> dict[str, Any]:
        return {
            "origin": self.origin,
            "pictures": len(self.dataset),
            "fingerprint": self.dataset.fingerprint,
        }

    def trained_on(self, train: PackedDataset) -> str:
        return NOT_STATED

    def notes(self, reference: PackedDataset, features: str) -> Iterator[str]:
        yield from self.remarks


def choose_images(
    dataset: PackedDataset, reference: PackedDataset, plan: SamplePlan, ordered: bool = True
) -> GivenImages:
    """Choose which images to measure, in an order in which the first ones represent all.

    With labels, classes take turns, each in its own order, as in the samples of a model: so a
    folder with a model's samples gives the model's numbers.

    Args:
        dataset: the images.
        reference: real images; labels are numbered as theirs if the class names allow it.
        plan: number and seed.
        ordered: whether images without labels are in the order in which they were drawn. Otherwise
            they are shuffled, as their names may sort them by content.

    Raises:
        SaganError: there are fewer than the plan's number, or the plan says how a model draws.
    """
    if plan.truncation != 1 or plan.weights != "ema":
        raise SaganError(
            f"truncation and raw weights are a model's, but '{dataset.source}' has images: leave "
            "them out"
        )
    available, num = len(dataset), plan.num
    if num is None:
        num = min(DEFAULT_NUM, available)
    if num > available:
        raise SaganError(
            f"'{dataset.source}' has {available:,} images, not {num:,}: give a smaller --num"
        )
    remarks = []
    if num < available:
        remarks.append(f"{num:,} of the {available:,} images of '{dataset.source}' are measured")
    labels, classes = dataset.labels, dataset.classes
    if labels is not None:
        order = _in_turns(labels)
    elif ordered:
        order = np.arange(available)
    else:
        order = np.random.Generator(np.random.Philox(plan.seed)).permutation(available)
    rows = order[:num]
    if labels is not None and set(classes) <= set(reference.classes):
        numbers = np.array([reference.classes.index(name) for name in classes])
        labels, classes = numbers[labels[rows]], reference.classes
    elif labels is not None and reference.classes:
        other = next(name for name in classes if name not in reference.classes)
        remarks.append(
            f"labels are not used: '{dataset.source}' has the class '{other}', and "
            f"'{reference.source}' does not"
        )
        labels = None
    else:
        labels = None
    return GivenImages(dataset, rows, classes, labels, plan.seed, tuple(remarks))


def _in_turns(labels: Int64Array) -> Int64Array:
    """Return all row numbers, every class spread evenly, as `proportional_labels` does it."""
    position = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        position[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.lexsort((np.arange(len(labels)), labels, position))
