"""The reader of faces' parts: its logits, for all pieces that are compared, are the features.

`parts` compares what it reads in one piece and in the other. It was trained on `avatars`, and says
little about other images.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from sagan.errors import SaganError
from sagan.metrics.features.network import FeatureNetwork, FeaturesAndLogits
from sagan.metrics.parts.pieces import SIZE
from sagan.metrics.parts.reader import PartsReader
from sagan.metrics.parts.weights import SHA256, open_reader


def open_network(weights: Path | None) -> FeatureNetwork:
    """Load the network with the weights in this package.

    Raises:
        SaganError: other weights are given, or this package's are damaged.
    """
    if weights is not None:
        raise SaganError("avatar-parts has its weights in this package: leave --weights out")
    reader = open_reader()
    return FeatureNetwork(
        name="avatar-parts",
        title="AvatarParts",
        width=reader.table.width,
        num_logits=0,
        weights_sha256=SHA256,
        preprocessing=f"bilinear with antialiasing to {SIZE} x {SIZE} in float32, x / 127.5 - 1",
        module=_Features(reader),
        batch_size=64,
    )


class _Features(nn.Module):
    def __init__(self, reader: PartsReader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, images: Tensor) -> FeaturesAndLogits:
        features: Tensor = self.reader(images)
        return features, torch.empty(len(images), 0, device=features.device)
