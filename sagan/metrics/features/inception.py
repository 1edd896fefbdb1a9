"""Inception V3 as used for published FIDs (Heusel et al. 2017), by torch-fidelity's network.

That network resizes as TensorFlow 1 did, and has the converted weights of December 2015.
"""

import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_fidelity import FeatureExtractorInceptionV3

from sagan.errors import SaganError
from sagan.metrics.features.network import FeatureNetwork, FeaturesAndLogits
from sagan.metrics.features.weights import PublishedWeights, find_weights
from sagan.storage.torch_files import read_state_dict

WIDTH, NUM_CLASSES = 2048, 1008
CANONICAL = PublishedWeights(
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)


def open_network(weights: Path | None) -> FeatureNetwork:
    """Load the network with the canonical weights, or with those in a file.

    With weights of another hash, distances are named FD-Inception instead of FID, and a warning
    says so.

    Raises:
        SaganError: the weights are unavailable, or do not fit the network.
    """
    path, digest = find_weights(CANONICAL, weights)
    canonical = digest == CANONICAL.sha256
    if not canonical:
        warnings.warn(
            f"'{path}' does not contain the canonical Inception weights: distances are named "
            "FD-Inception, since they are not FIDs",
            stacklevel=2,
        )
    return FeatureNetwork(
        name="inception",
        title="" if canonical else "Inception",
        width=WIDTH,
        num_logits=NUM_CLASSES,
        weights_sha256=digest,
        preprocessing="TensorFlow 1's bilinear to 299 x 299 in float32, (x - 128) / 128",
        module=_Features(path),
    )


class _Features(nn.Module):
    def __init__(self, path: Path) -> None:
        super().__init__()
        # torch-fidelity reads files as pickles, which may run code, so it gets a copy of tensors
        # that were read safely.
        safe = io.BytesIO()
        torch.save(read_state_dict(path), safe)
        safe.seek(0)
        try:
            self.network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"], safe
            )
        except RuntimeError:
            raise SaganError(f"the weights in '{path}' are not those of this Inception") from None

    def forward(self, images: Tensor) -> FeaturesAndLogits:
        features, logits = self.network(images.permute(0, 3, 1, 2))  # uint8 (B, 3, H, W)
        return features, logits
