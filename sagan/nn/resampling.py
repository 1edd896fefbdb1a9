"""3x3 convolutions that double or halve the resolution, as one operation instead of two.

Nearest upsampling repeats each pixel four times, so that a 3x3 window covers only 2x2 distinct
pixels. Mean pooling adds four outputs with overlapping windows. If the weights that apply to the
same pixel are added first, a 4x4 convolution of stride 2 remains, transposed for upsampling. It
gives the same result, to rounding, with 4/9 of the multiplications. (The released code of Karras et
al. 2018, arXiv 1710.10196, does this; it is the identity  mean4(w * x) = (box * w) *2 x.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sagan.nn.convolution import convolve, convolve_transposed


def upsample_convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute `conv2d(interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)`.

    Args:
        x: (B, C_in, H, W).
        weight: (C_out, C_in, 3, 3).
        bias: (C_out,) or None.

    Returns:
        (B, C_out, 2H, 2W).
    """
    # A transposed convolution applies its kernel mirrored, in the layout (C_in, C_out, 4, 4).
    # Pooling is fast on channels_last weights only, so the copy comes first.
    mirrored = weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
    kernel = 4 * _box_averaged(mirrored)
    return convolve_transposed(x, kernel, bias, stride=2, padding=1)


def convolve_downsample(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute `avg_pool2d(conv2d(x, weight, bias, padding=1), 2)`.

    Args:
        x: (B, C_in, H, W), H and W even.
        weight: (C_out, C_in, 3, 3).
        bias: (C_out,) or None.

    Returns:
        (B, C_out, H/2, W/2).
    """
    return convolve(x, _box_averaged(weight), bias, stride=2, padding=1)


def _box_averaged(weight: Tensor) -> Tensor:
    """Convolve each kernel with a 2x2 box of 1/4: (O, I, 3, 3) -> (O, I, 4, 4)."""
    # Not with divisor_override=1 for a sum: files in ONNX would ignore it.
    return F.avg_pool2d(weight, 2, stride=1, padding=1)
