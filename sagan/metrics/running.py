"""Metrics of images that arrive in batches, for anybody's training loop."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from sagan.errors import SaganError
from sagan.metrics.arrays import ImageArray, ValueRange, as_labels, as_uint8
from sagan.metrics.features.network import DEFAULT_FEATURES, FeatureNetwork, open_network
from sagan.metrics.measures.inputs import (
    Features,
    MetricInputs,
    known_labels,
    smallest_counts,
)
from sagan.metrics.measures.table import DEFAULT_METRICS, METRICS, measures_of
from sagan.metrics.plan import check_intra, check_names, check_network, check_number
from sagan.metrics.protocol import published_name
from sagan.runtime.processes import gather_objects
from sagan.types import Float32Array, Int64Array


class ImageMetrics:
    """Metrics of generated images against real ones, both given in batches.

    It has the methods of a metric of torchmetrics, `update`, `compute` and `reset`, and needs no
    library of that name. Between them it keeps features, not images: 5 KB each with
    EfficientNet-Lite0.

    ```python
    metrics = ImageMetrics(["fid", "kid"], value_range=(-1, 1))
    for photos in loader:
        metrics.update(photos, real=True)
        metrics.update(generator(torch.randn(len(photos), 128)), real=False)
    metrics.compute()  # {"FD-EfficientNet": ..., "KD-EfficientNet": ..., ...}
    metrics.reset()  # of the generated images; the real ones stay
    ```

    Precision, recall, density and coverage compare equally many of both, at most 10,000, the first
    that were given: give images of classes mixed, not one class after the other.

    Args:
        metrics: names in `METRICS`, except those that need training images.
        network: computes features of images; by default EfficientNet-Lite0.
        value_range: the values of black and white in floating-point images.
        seed: decides whatever is random in metrics.
        reset_real: whether `reset` forgets the real images, too.

    Raises:
        SaganError: a metric is unknown, or needs what is not here.
    """

    def __init__(
        self,
        metrics: Sequence[str] = DEFAULT_METRICS,
        network: FeatureNetwork | None = None,
        value_range: ValueRange | None = None,
        seed: int = 0,
        reset_real: bool = False,
    ) -> None:
        check_names(metrics)
        self.network = network if network is not None else open_network(DEFAULT_FEATURES)
        for name in metrics:
            if "train" in METRICS[name].needs:
                raise SaganError(f"{name} needs training images: use sagan.evaluate")
            check_network(name, self.network)
        self.metrics = tuple(dict.fromkeys(metrics))
        self.value_range = value_range
        self.seed = seed
        self.reset_real = reset_real
        self._generated, self._real = _Batches(), _Batches()

    def to(self, device: torch.device | str) -> "ImageMetrics":
        """Move the feature network to a device, and return this object."""
        self.network.module.to(device)
        return self

    def update(self, images: ImageArray, real: bool, labels: Any = None) -> None:
        """Add a batch of images.

        Args:
            images: (B, H, W, 3) or (B, 3, H, W), uint8 or floating-point.
            real: whether they are real, or generated.
            labels: int (B,), which "intra-fid" needs.

        Raises:
            SaganError: the images or labels are not of this form, or labels are missing.
        """
        pixels = as_uint8(images, self.value_range)
        numbers = as_labels(labels, len(pixels)) if labels is not None else None
        if numbers is None and any("labels" in METRICS[name].needs for name in self.metrics):
            raise SaganError("intra-fid needs the labels of every batch")
        device = next(
            (tensor.device for tensor in self.network.module.parameters()), torch.device("cpu")
        )
        features, logits = self.network(torch.from_numpy(np.array(pixels)).to(device))
        batches = self._real if real else self._generated
        batches.add(features.cpu().numpy(), logits.cpu().numpy(), numbers)

    def compute(self) -> dict[str, float]:
        """Return the metrics of all images so far, by the names of `sagan evaluate`.

        Under a launcher every process calls this, and gets the metrics of the images of all.

        Raises:
            SaganError: there are too few images.
        """
        generated, logits = self._generated.joined()
        real, _ = self._real.joined()
        for name in self.metrics:
            check_number(name, len(generated))
            needed = METRICS[name].min_images
            if len(real) < needed and "logits" not in METRICS[name].needs:
                raise SaganError(f"{name} needs at least {needed} real images, not {len(real)}")
        if "intra-fid" in self.metrics:
            labels = known_labels(generated), known_labels(real)
            check_intra(smallest_counts(*labels, 1 + max(y.max() for y in labels)))
        nothing = np.arange(0)
        inputs = MetricInputs(generated, logits, real, real, nothing, nothing, self.seed)
        found: dict[str, float] = {}
        for measure in measures_of(self.metrics):
            found |= measure.run(inputs)
        return {
            published_name(name, self.network): value
            for name, value in found.items()
            if name.partition("/")[0] in self.metrics
        }

    def protocol(self) -> dict[str, Any]:
        """Return what decides the numbers, besides the images."""
        measures = {name: METRICS[name] for name in self.metrics}
        return {
            "features": self.network.protocol(),
            "seed": self.seed,
            "metrics": {
                published_name(name, self.network): {"version": m.version, **m.protocol}
                for name, m in measures.items()
            },
        }

    def reset(self) -> None:
        """Forget the generated images; the real ones, too, if `reset_real`."""
        self._generated = _Batches()
        if self.reset_real:
            self._real = _Batches()


class _Batches:
    """Features, logits and labels of images, batch by batch."""

    def __init__(self) -> None:
        self._features: list[Float32Array] = []
        self._logits: list[Float32Array] = []
        self._labels: list[Int64Array] = []

    def add(self, features: Float32Array, logits: Float32Array, labels: Int64Array | None) -> None:
        """Add a batch."""
        self._features.append(features)
        self._logits.append(logits)
        if labels is not None:
            self._labels.append(labels)

    def joined(self) -> tuple[Features, Float32Array]:
        """Return the features, with labels if every batch had them, and the logits."""
        everyone = gather_objects((self._features, self._logits, self._labels))
        features, logits, labels = (
            list(chain.from_iterable(p)) for p in zip(*everyone, strict=True)
        )
        whole = np.concatenate(features) if features else np.empty((0, 0), np.float32)
        return (
            Features(whole, np.concatenate(labels) if labels else None),
            np.concatenate(logits) if logits else np.empty((0, 0), np.float32),
        )
