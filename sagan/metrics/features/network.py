"""The interface between images and numbers: a network that turns images into features.

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
# Decides between checkpoints and in studies: unbiased, unlike a Frechet distance, and without a
# download.
DEFAULT_DISTANCE = "KD-EfficientNet"

# Modules with a function `open_network(weights)`, imported on demand since each needs a library.
_OPENERS = {
    "efficientnet-lite0": "efficientnet",
    "inception": "inception",
    "dinov2": "dinov2",
    "cifar-judge": "cifar_judge",
    "avatar-parts": "avatar_parts",
}
FEATURE_NETWORKS = tuple(_OPENERS)

# Float32 features (B, D) and logits (B, K) of a batch; (B, 0) if the network has no classifier.
FeaturesAndLogits: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FeatureNetwork:
    """A network, with everything that decides its features.

    Attributes:
        name: the value of --features.
        title: its distances are named after it: "EfficientNet" gives FD-EfficientNet. Empty only
            for Inception with the canonical weights: its distances are FID and KID.
        width: D, length of a feature vector.
        num_logits: K, number of its classes; 0 if it is not a classifier.
        weights_sha256: SHA-256 of the file of its weights, 64 hex digits.
        preprocessing: how a uint8 image becomes its input, for the protocol.
        module: uint8 (B, H, W, 3) -> float32 features (B, D) and logits (B, K), in evaluation mode;
            each image's result depends on that image only.
        batch_size: images at a time on a CPU, where this is fastest; does not affect results.
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
        """Return the part of a number's protocol that this network decides."""
        return {
            "network": self.name,
            "weights": self.weights_sha256,
            "width": self.width,
            "preprocessing": self.preprocessing,
            "precision": "float32",
        }

    @torch.no_grad()
    def __call__(self, images: Tensor) -> FeaturesAndLogits:
        """Compute features of uint8 images (B, H, W, 3) on the module's device, for any B."""
        size = self.batch_size if images.device.type == "cpu" else 16 * self.batch_size
        with exact_float32():
            parts = [self.module(part) for part in images.split(size)]
        features, logits = zip(*parts, strict=True)
        return torch.cat(features), torch.cat(logits)


def check_features(name: str) -> None:
    """Check that a feature network has this name.

    Raises:
        SaganError: none of them does.
    """
    if name not in _OPENERS:
        raise SaganError(f"unknown features '{name}': choose from {', '.join(FEATURE_NETWORKS)}")


def open_network(name: str, weights: Path | None = None) -> FeatureNetwork:
    """Load a feature network, on the CPU.

    Args:
        name: one of `FEATURE_NETWORKS`.
        weights: a file with its weights, instead of the one in the cache or in its package.

    Raises:
        SaganError: the name is unknown, a library is missing, or the weights are unavailable or
            damaged.
    """
    check_features(name)
    with report_missing_library():
        module = importlib.import_module(f"sagan.metrics.features.{_OPENERS[name]}")
        opened: Callable[[Path | None], FeatureNetwork] = module.open_network
        return opened(weights)
