"""Convolutions in float32 on a CPU, by whatever way is the fastest for their shapes.

* 3x3 convolutions of many channels, all passes: Winograd's way, `sagan.nn.winograd`.
* The gradient of a large weight, for which oneDNN has no good kernel on AVX2: a matrix product over
  all windows of the image.
* Everything else: torch, which calls oneDNN.

Figures are in docs/performance.md.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.nn.winograd import TILE, convolve3x3, gradient_of_weight3x3

# Entries of a window, channels times kernel. With fewer, oneDNN's own kernel is as fast.
WIDE_WINDOW = 2048
# With fewer channels or positions, Winograd's transforms take longer than they save.
WINOGRAD_CHANNELS = 128
WINOGRAD_POSITIONS = 256
# Of a whole batch, in inference. A training computes with the same numbers however its batches are
# divided, so that there only an image's positions count.
WINOGRAD_BATCH_POSITIONS = 4096
CHUNK_ENTRIES = 2**21  # of windows at a time, 8 MB: all of them may take more than the step


class Conv2d(nn.Conv2d):
    """torch's layer, computed by `convolve`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H', W')."""
        return convolve(x, self.weight, self.bias, self.stride[0], int(self.padding[0]))


class ConvTranspose2d(nn.ConvTranspose2d):
    """torch's layer, computed by `convolve_transposed`."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H', W')."""
        assert output_size is None
        return convolve_transposed(x, self.weight, self.bias, self.stride[0], int(self.padding[0]))


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0
) -> Tensor:
    """Compute `conv2d`, for x (B, C_in, H, W) and weight (C_out, C_in, k, k)."""
    if may_choose(x, weight):
        winograd = _gains_by_winograd(x, weight, stride, padding)
        if winograd or _gains_by_product(weight):
            result: Tensor = _Convolution.apply(x, weight, bias, stride, padding, False, winograd)
            return result
    return F.conv2d(x, weight, bias, stride, padding)


def convolve_transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0
) -> Tensor:
    """Compute `conv_transpose2d`, for x (B, C_in, H, W) and weight (C_in, C_out, k, k)."""
    if x.shape[2:] == (1, 1) and padding == 0:
        return _from_one_pixel(x, weight, bias)
    if _gains_by_product(weight) and may_choose(x, weight):
        result: Tensor = _Convolution.apply(x, weight, bias, stride, padding, True, False)
        return result
    return F.conv_transpose2d(x, weight, bias, stride, padding)


def _from_one_pixel(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a transposed convolution's (B, C_out, k, k): one product, four times as fast."""
    _, outputs, height, width = weight.shape
    matrix = weight.movedim(1, -1).flatten(1)  # (C_in, k * k * C_out)
    result = (x.flatten(1) @ matrix).unflatten(1, (height, width, outputs)).movedim(-1, 1)
    return result + bias[:, None, None] if bias is not None else result


def may_choose(x: Tensor, weight: Tensor) -> bool:
    """Return whether these operands are computed by code of ours, if it is faster.

    Like the other two conditions, it is a function of shapes and device, never of a timing, as
    bit-exact resuming requires.
    """
    return (
        x.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def in_inference() -> bool:
    """Return whether nothing that is computed now can be asked for its gradient.

    Without gradients alone, as in a training's update of D, a training's bits must stay the same.
    """
    return not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()


def _gains_by_winograd(x: Tensor, weight: Tensor, stride: int, padding: int) -> bool:
    """Return whether a convolution is 3x3 and large enough for transforms to pay."""
    batch, _, height, width = x.shape
    enough = height * width >= WINOGRAD_POSITIONS
    if in_inference():
        enough = enough or batch * height * width >= WINOGRAD_BATCH_POSITIONS
    return (
        weight.shape[2:] == (3, 3)
        and stride == padding == 1
        and min(weight.shape[:2]) >= WINOGRAD_CHANNELS
        and enough
        and height % TILE == width % TILE == 0
    )


def _gains_by_product(weight: Tensor) -> bool:
    """Return whether the weight's gradient is needed and faster as a product."""
    needed = weight.requires_grad and torch.is_grad_enabled()
    return needed and weight[0].numel() > WIDE_WINDOW


class _Convolution(torch.autograd.Function):
    """A convolution, transposed or not, with a backward pass of its own."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        padding: int,
        transposed: bool,
        winograd: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = stride, padding, transposed, winograd
        if winograd:
            return convolve3x3(x, weight, bias)
        convolution = F.conv_transpose2d if transposed else F.conv2d
        return convolution(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, transposed, winograd = ctx.options
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        # Only torch's own way can be differentiated once more, or take a batch of gradients.
        own = not torch.is_grad_enabled() and not torch._C._functorch.is_legacy_batchedtensor(grad)
        own_x, own_weight = own and winograd and needs_x, own and needs_weight
        to_x, to_weight, to_bias = None, None, None
        mask = [
            needs_x and not own_x,
            needs_weight and not own_weight,
            # Asked for the bias's gradient, torch would compute the weight's as well.
            needs_bias and not own,
        ]
        if any(mask):
            to_x, to_weight, to_bias = torch.ops.aten.convolution_backward(
                grad,
                x,
                weight,
                [weight.shape[1 if transposed else 0]],
                [stride, stride],
                [padding, padding],
                [1, 1],
                transposed,
                [0, 0],
                1,
                mask,
            )
        if own_x:
            to_x = convolve3x3(grad, weight.flip(2, 3).transpose(0, 1))
        if own_weight and winograd:
            to_weight = gradient_of_weight3x3(x, grad)
        elif own_weight:
            # A transposed convolution is the way back of another, which takes grad and returns x.
            images, maps = (grad, x) if transposed else (x, grad)
            to_weight = _gradient_of_weight(images, maps, weight.shape[2], stride, padding)
        if own and needs_bias:
            to_bias = grad.sum(dim=(0, 2, 3))
        return to_x, to_weight, to_bias, *(None,) * 4


def _gradient_of_weight(
    images: Tensor, maps: Tensor, side: int, stride: int, padding: int
) -> Tensor:
    """Return the gradient (O, I, k, k), channels_last, of a weight that turns images into maps.

    Args:
        images: (B, I, H, W).
        maps: gradient of the result, (B, O, H', W').
        side: k.
        stride: of the windows.
        padding: zeros around the images.
    """
    outputs, inputs = maps.shape[1], images.shape[1]
    entries = side * side * inputs
    result = maps.new_zeros(outputs, entries)
    num = max(1, CHUNK_ENTRIES // (entries * maps.shape[2:].numel()))
    for some_images, some_maps in zip(images.split(num), maps.split(num), strict=True):
        rows = some_maps.movedim(1, -1).reshape(-1, outputs)
        windows = F.pad(some_images.movedim(1, -1), (0, 0, *(padding,) * 4))
        # (B, H', W', I, k, k) -> (B, H', W', k, k, I), rows of memory in one piece.
        windows = windows.unfold(1, side, stride).unfold(2, side, stride)
        windows = windows.movedim(3, -1).reshape(-1, entries)
        result.addmm_(rows.t(), windows)
    return result.view(outputs, side, side, inputs).movedim(-1, 1)
