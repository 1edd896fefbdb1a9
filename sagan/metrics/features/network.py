"""The seam between pictures and numbers: a network that turns pictures into features.

A new network is a file with a function that returns a `FeatureNetwork`, and a line in `_OPENERS`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from sagan.errors import SaganError
from sagan.nn.precision import exact_float32
from sagan.runtime.extras import report_missing_library

DEFAULT_FEATURES = "efficientnet-lite0"
# What trainings and studies go by: unbiased, unlike a Frechet distance, and needs no download.
DEFAULT_DISTANCE = "KD-EfficientNet"

# Modules that hold an `open_network(weights)`, imported when asked for: each needs a library.
_OPENERS = {
    "efficientnet-lite0": "efficientnet",
    "inception": "inception",
    "dinov2": "dinov2",
}
NETWORKS = tuple(_OPENERS)

# What a network makes of a batch: features (B, D) and logits (B, K); no logits: (B, 0).
Extracted: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FeatureNetwork:
    """A network with everything about it that decides what its features are.

    Attributes:
        name: what --features calls it.
        title: what its distances are named after: "EfficientNet" gives FD-EfficientNet. Empty for
            Inception with the canonical weights alone, whose distances are FID and KID.
        width: D, numbers in a feature vector.
        num_logits: K, classes that it tells apart; 0 if it is no classifier.
        weights_sha256: of the file that its weights came from, 64 hex digits.
        preprocessing: how a uint8 picture becomes its input, for the protocol.
        module: uint8 (B, H, W, 3) -> float32 features (B, D) and logits (B, K). In evaluation mode;
            each picture's result depends on that picture only.
        batch_size: pictures at a time on a processor, where it is fastest; changes no result.
    """

    name: str
    title: str
    width: int
    num_logits: int
    weights_sha256: str
    preprocessing: str
    module: nn.Module
    batch_size: int = 16

    def protocol(self) -> dict[str, Any]:
        """What of it is part of a number."""
        return {
            "network": self.name,
            "weights": self.weights_sha256,
            "width": self.width,
            "preprocessing": self.preprocessing,
            "precision": "float32",
        }

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Extracted:
        """Features of uint8 pictures (B, H, W, 3) on the module's device; B may be anything."""
        size = self.batch_size if images.device.type == "cpu" else 16 * self.batch_size
        with exact_float32():
            parts = [self.module(part) for part in images.split(size)]
        features, logits = zip(*parts, strict=True)
        return torch.cat(features), torch.cat(logits)


def open_network(name: str, weights: Path | None = None) -> FeatureNetwork:
    """Load a feature network, on the CPU.

    Args:
        name: one of `NETWORKS`.
        weights: a file with its weights, instead of the one in the cache or its package.

    Raises:
        SaganError: unknown name, missing library, or weights that cannot be had or are damaged.
    """
    if name not in _OPENERS:
        raise SaganError(f"there are no features {name!r}: there are {', '.join(NETWORKS)}")
    with report_missing_library():
        module = importlib.import_module(f"sagan.metrics.features.{_OPENERS[name]}")
        opened: Callable[[Path | None], FeatureNetwork] = module.open_network
        return opened(weights)
