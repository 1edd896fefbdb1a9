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

from sagan.nn.convolution import convolve, convolve_transposed, in_inference, may_choose
from sagan.nn.karatsuba import upsample_convolve3x3
from sagan.nn.precision import without_autocast

# With fewer channels, Karatsuba's sums take longer than they save; with fewer positions in a
# batch, those of the weights do.
KARATSUBA_CHANNELS = 128, 64  # of the input, of the result
KARATSUBA_POSITIONS = 1024


def upsample_convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute `conv2d(interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)`.

    Args:
        x: (B, C_in, H, W).
        weight: (C_out, C_in, 3, 3).
        bias: (C_out,) or None.

    Returns:
        (B, C_out, 2H, 2W).
    """
    if in_inference() and may_choose(x, weight) and _gains_by_karatsuba(x, weight):
        return upsample_convolve3x3(x, weight, bias)
    # A transposed convolution applies its kernel mirrored, in the layout (C_in, C_out, 4, 4).
    # Pooling is fast on channels_last weights only, so the copy comes first.
    mirrored = weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
    kernel = 4 * _box_averaged(mirrored)
    return convolve_transposed(x, kernel, bias, stride=2, padding=1)


def add_upsampled(y: Tensor, x: Tensor) -> Tensor:
    """Add `interpolate(x, scale_factor=2, mode="nearest")` to y, in place.

    Args:
        y: (B, C, 2H, 2W).
        x: (B, C, H, W).

    Returns:
        y.
    """
    if in_inference():
        # Without a copy of its size. The gradient of this would take ten times as long.
        pairs = y.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
        pairs.add_(x[:, :, :, None, :, None])
        return y
    # On GPUs autocast would widen the result to float32, and with it the rest of the generator.
    with without_autocast(x):
        upsampled = F.interpolate(x, scale_factor=2, mode="nearest")
    return y.add_(upsampled)


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


def _gains_by_karatsuba(x: Tensor, weight: Tensor) -> bool:
    """Return whether an upsampling is large enough for sums of pixels and of weights to pay."""
    batch, channels, height, width = x.shape
    least_inputs, least_outputs = KARATSUBA_CHANNELS
    return (
        channels >= least_inputs
        and len(weight) >= least_outputs
        and batch * height * width >= KARATSUBA_POSITIONS
        and height % 2 == width % 2 == 0
    )


def _box_averaged(weight: Tensor) -> Tensor:
    """Convolve each kernel with a 2x2 box of 1/4: (O, I, 3, 3) -> (O, I, 4, 4)."""
    # Not with divisor_override=1 for a sum: files in ONNX would ignore it.
    return F.avg_pool2d(weight, 2, stride=1, padding=1)
