"""EfficientNet-Lite0 (Tan & Le 2019), with ImageNet weights from a Python package.

Its features need no download. Images are resized to 128 pixels instead of the 224 that it was
trained with; docs/evaluation.md says why.
"""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from sagan.errors import SaganError
from sagan.metrics.features.network import FeatureNetwork, FeaturesAndLogits
from sagan.nn.efficientnet import SHA256, EfficientNetLite0Classifier

INPUT_SIZE = 128
WIDTH, NUM_CLASSES = 1280, 1000


def open_network(weights: Path | None) -> FeatureNetwork:
    """Load the network with the weights of its package.

    Raises:
        SaganError: other weights are given, or the package has other weights.
    """
    if weights is not None:
        raise SaganError("efficientnet-lite0 has its weights in its package: leave --weights out")
    return FeatureNetwork(
        name="efficientnet-lite0",
        title="EfficientNet",
        width=WIDTH,
        num_logits=NUM_CLASSES,
        weights_sha256=SHA256,
        preprocessing=f"bilinear with antialiasing to {INPUT_SIZE} x {INPUT_SIZE} in float32, "
        "(x - 127) / 128",
        module=_Features(),
    )


class _Features(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNetLite0Classifier()

    def forward(self, images: Tensor) -> FeaturesAndLogits:
        x = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W), channels_last
        x = F.interpolate(x, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
        return self.network.classify((x - 127) / 128)
