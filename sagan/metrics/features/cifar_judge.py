"""A small residual network (He et al. 2016), trained on CIFAR-10 to judge images of its classes.

It is independent of the networks that training may look through, so that no training can flatter
itself. `runs/cifar-judge.py` trained it. Its features say little about other data.
"""

from importlib import resources
from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

from sagan.errors import SaganError
from sagan.metrics.features.network import FeatureNetwork, FeaturesAndLogits
from sagan.storage.files import sha256_of

INPUT_SIZE = 32
STEM, WIDTHS, NUM_CLASSES = 32, (48, 96, 96, 192), 10


def open_network(weights: Path | None) -> FeatureNetwork:
    """Load the network with the weights in this package.

    Raises:
        SaganError: other weights are given.
    """
    if weights is not None:
        raise SaganError("cifar-judge has its weights in this package: leave --weights out")
    path = Path(str(resources.files("sagan.metrics.features") / "cifar-judge.safetensors"))
    network = CifarJudge()
    network.load_state_dict(load(path.read_bytes()))  # float16 becomes float32
    return FeatureNetwork(
        name="cifar-judge",
        title="CIFAR-judge",
        width=WIDTHS[-1],
        num_logits=NUM_CLASSES,
        weights_sha256=sha256_of(path),
        preprocessing=f"bilinear with antialiasing to {INPUT_SIZE} x {INPUT_SIZE} in float32, "
        "x / 127.5 - 1",
        module=_Features(network),
        batch_size=100,
    )


class CifarJudge(nn.Module):
    """Images (B, 3, 32, 32) in [-1, 1] -> features (B, 192), logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(STEM)
        self.blocks = nn.Sequential()
        in_channels = STEM
        for width in WIDTHS:
            self.blocks.append(_Block(in_channels, width))
            in_channels = width
        self.linear = nn.Linear(in_channels, NUM_CLASSES)

    def forward(self, images: Tensor) -> FeaturesAndLogits:
        """Return the features, means over positions, and the logits."""
        x = self.blocks(F.relu(self.norm(self.stem(images))))
        features = x.mean(dim=(2, 3))
        return features, self.linear(features)


class _Block(nn.Module):
    """ReLU(F(x) + skip(x)), at half the resolution where the number of channels changes."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.stride = 2 if in_channels != out_channels else 1
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, self.stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.skip: nn.Module = nn.Identity()
        if self.stride == 2:
            convolution = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
            norm = nn.BatchNorm2d(out_channels)
            self.skip = nn.Sequential(nn.AvgPool2d(2), convolution, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.skip(x))


class _Features(nn.Module):
    def __init__(self, network: CifarJudge) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> FeaturesAndLogits:
        x = images.permute(0, 3, 1, 2).float()
        x = F.interpolate(x, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
        features: FeaturesAndLogits = self.network(x / 127.5 - 1)
        return features
