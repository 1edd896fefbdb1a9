"""Batch norm over the batches of all processes, as if they were one.

torch's SyncBatchNorm asks each process for its number of images and reads the answer, so the host
waits for the device in every layer. Here all processes have equally many, as in `sagan train`: each
pass sums two numbers per channel over the processes, and nothing is read. It works on CPUs too.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


def shared_batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalize by mean and variance over all processes, each of which calls this.

    Gradients are those of the sum of the processes' losses; of `weight` and `bias`, this process's
    share. The result has first derivatives only.

    Args:
        x: (B, C, H, W), of the same shape in all processes.
        running_mean: (C,), updated in place.
        running_var: likewise.
        weight: gain (C,), or None.
        bias: (C,), or None.
        momentum: weight of the new statistics in the running ones.
        eps: added to the variance.
    """
    result: Tensor = _SharedBatchNorm.apply(
        x, weight, bias, running_mean, running_var, momentum, eps
    )
    return result


class _SharedBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        # Given float32 statistics, which a momentum of 0 leaves unchanged, it returns float32.
        own_mean, own_var = torch.ops.aten.batch_norm_update_stats(
            x, running_mean, running_var, 0.0
        )
        # Relative to a value that all processes have and that is near the mean: a variance that is
        # small beside the mean's square would be lost to rounding otherwise.
        shift = own_mean - running_mean
        sums = torch.stack([shift, own_var + shift.square()])
        distributed.all_reduce(sums)
        processes = distributed.get_world_size()
        shift, square = (sums / processes).unbind()
        mean = running_mean + shift
        var = (square - shift.square()).clamp_min_(0)
        running_mean.lerp_(mean, momentum)
        count = processes * (x.numel() // len(mean))
        running_var.lerp_(var * (count / (count - 1)), momentum)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.count = eps, count
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        # As if mean and variance were constants; the other two are the sums of the gradient and of
        # its product with the normalized x.
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([to_weight, to_bias])
        distributed.all_reduce(sums)
        scale = torch.rsqrt(var + ctx.eps)
        scale = scale * weight if weight is not None else scale
        along_x, along_one = (sums * (scale / ctx.count)).unbind()
        through_statistics = F.batch_norm(
            x, mean, var, along_x, along_one, training=False, eps=ctx.eps
        )
        needs_weight, needs_bias = ctx.needs_input_grad[1:3]
        return (
            to_x - through_statistics,
            to_weight if needs_weight else None,
            to_bias if needs_bias else None,
            *(None,) * 4,
        )
