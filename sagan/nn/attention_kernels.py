"""Three ways to compute equations 1 and 2 of the attention layer, with the same result.

`eager` keeps the map for the backward pass, `chunked` computes it again there, and `flash` calls
torch's fused attention. The first two share a backward pass. It is written by hand because autograd
orders the operands of its matrix products in a way that is slow in CPU libraries. Fused attention
has no second derivative; where one is asked for, `flash` has the backward pass of `chunked`.

`plain` is for the transforms of `torch.func`, which none of the three supports in full, and for
`torch.export`, where the batch size is unknown.
"""

from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from sagan.nn.precision import without_autocast

BackendName: TypeAlias = Literal["auto", "eager", "flash", "chunked"]

# Queries (B, N, d), keys (B, M, d), values (B, M, c) -> weighted values (B, N, c)
AttentionKernel: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]

# All of these were chosen by measurement. An entry is one weight of a map, 2 or 4 bytes.
NARROW_CHANNELS = 32  # fewer make a matrix narrow in `_weighted`
NARROW_CHANNELS_BY_COLUMNS = 128  # the same in `_weighted_by_columns`
MAX_AUTOGRAD_ENTRIES = 2**19  # of a batch's maps, if queries are narrow: autograd is faster
BLOCK_ENTRIES = 2**21  # 4 or 8 MB, which stay in a CPU's cache
MIN_BLOCK_ROWS = 512  # products with fewer rows are slow, even if more do not fit in the cache
GPU_BLOCK_ENTRIES = 2**26  # only bounds memory: small blocks would leave a GPU idle
ROW_ENTRIES = 2**17  # 512 KB, which stay in a core's own cache: only without a backward pass
MIN_ROWS = 64
MAX_EAGER_ENTRIES = 2**24  # of one image's map, 4096 x 4096: a larger one is computed twice


def attention_map(query: Tensor, key: Tensor) -> Tensor:
    """Equation 1: queries (B, N, d) and keys (B, M, d) -> the map (B, N, M); its rows sum to 1."""
    if query.dtype == torch.float16:
        # Scores are not scaled, and may exceed the largest number of float16, 65,504.
        with without_autocast(query):
            scores = torch.bmm(query.float(), key.float().transpose(1, 2))
            return torch.softmax(scores, dim=-1).to(query.dtype)
    scores = torch.bmm(query, key.transpose(1, 2))
    # The dtype is given because autocast would otherwise widen the map to float32 on GPUs.
    return torch.softmax(scores, dim=-1, dtype=scores.dtype)


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute the weighted values as written, with torch's own gradients: O(N*M) memory."""
    return torch.bmm(attention_map(query, key), value)


def eager(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute the weighted values and keep the map for the backward pass: O(N*M) memory."""
    if _gains_by_rows(query, key, value):
        return _in_rows(query, key, value)
    most = MAX_AUTOGRAD_ENTRIES if query.shape[2] < NARROW_CHANNELS else BLOCK_ENTRIES
    if query.shape[0] * query.shape[1] * key.shape[1] <= most:
        return plain(query, key, value)
    return _in_groups(query, key, value, keep=torch.is_grad_enabled())


def chunked(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute the same, but each block of the map again in the backward pass: O(N + M) memory.

    Like `eager`, it needs no fused kernel: any device, any dtype, twice differentiable.
    """
    return _in_groups(query, key, value, keep=False)


def flash(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute the same by fused `scaled_dot_product_attention`: O(N) memory.

    A backward pass with `create_graph=True` does not use the fused kernel.

    The fused kernels need contiguous rows of the same width for all three, and some need a multiple
    of 8. Otherwise torch silently falls back to materializing the map. Hence the padding with
    zeros, which does not change the result.
    """
    width = -(-value.shape[-1] // 8) * 8
    q, k, v = (_padded(x, width).contiguous().unsqueeze(1) for x in (query, key, value))
    attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    attended = attended.squeeze(1)[..., : value.shape[-1]]
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return attended  # compiled code has no second derivatives
    return _TwiceDifferentiable.apply(attended, query, key, value)


def _padded(x: Tensor, width: int) -> Tensor:
    """Add zeros at the end of each vector (B, N, c) -> (B, N, width)."""
    # Padding by nothing would be a copy.
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))


class _TwiceDifferentiable(torch.autograd.Function):
    """The identity of fused attention's result, with a choice of the way back.

    The gradient goes into the fused kernel's own backward pass, unless a second derivative is asked
    for (`create_graph=True`). Then it bypasses the kernel.
    """

    @staticmethod
    def forward(ctx: Any, attended: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        return attended.view_as(attended)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not torch.is_grad_enabled():
            return grad, None, None, None
        query, key, value = ctx.saved_tensors
        return None, *_backward(query, key, value, grad.to(value.dtype), [])


def _in_groups(query: Tensor, key: Tensor, value: Tensor, keep: bool) -> Tensor:
    """Compute attention in groups of images small enough for their maps to fit in cache.

    This is what makes it fast on a CPU: a map is many times larger than the tensors it is computed
    from, so operations on the maps of a whole batch wait for memory.
    """
    images = max(1, _block_entries(query) // (query.shape[1] * key.shape[1]))
    if images >= query.shape[0]:
        return _Attention.apply(query, key, value, keep)
    groups = zip(query.split(images), key.split(images), value.split(images), strict=True)
    return torch.cat([_Attention.apply(*group, keep) for group in groups])


def _gains_by_rows(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Return whether an image's map leaves a core's cache, and nothing is kept for a backward pass.

    With few values, `_weighted` has another order.
    """
    return (
        not torch.compiler.is_compiling()
        and torch.is_inference_mode_enabled()
        and query.device.type == "cpu"
        and query.dtype in (torch.float32, torch.float64)
        and query.shape[1] * key.shape[1] > ROW_ENTRIES
        and value.shape[2] >= NARROW_CHANNELS
    )


def _in_rows(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute attention a few rows of a map at a time, in the same memory, without gradients."""
    attended = value.new_empty(*query.shape[:2], value.shape[2])
    rows = max(MIN_ROWS, ROW_ENTRIES // key.shape[1])
    memory = query.new_empty(rows, key.shape[1])
    for q, k, v, result in zip(query, key.transpose(1, 2), value, attended, strict=True):
        for some, out in zip(q.split(rows), result.split(rows), strict=True):
            weights = memory[: len(some)]
            torch.mm(some, k, out=weights)
            torch.softmax(weights, dim=-1, out=weights)
            torch.mm(weights, v, out=out)
    return attended


def _block_entries(query: Tensor) -> int:
    return BLOCK_ENTRIES if query.device.type == "cpu" else GPU_BLOCK_ENTRIES


class _Attention(torch.autograd.Function):
    """Attention in blocks of queries: some rows at a time of a map too large for the cache.

    The results of several blocks are written into one tensor. If they were collected and then
    concatenated, they would be allocated between the blocks, and fragment the memory that the next
    block could reuse.

    Forward and backward run in the operands' own dtype, because the backward pass may run under
    another autocast than the forward pass did.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, keep: bool) -> Tensor:
        attended = value.new_empty(*query.shape[:2], value.shape[2])
        maps = []
        blocks = _blocks(query, key)
        with without_autocast(query):
            for rows in blocks:
                attention = attention_map(query[:, rows], key)
                part = _weighted(attention, value)
                if len(blocks) == 1:
                    attended = part
                else:
                    attended[:, rows] = part
                if keep:
                    maps.append(attention)
        ctx.save_for_backward(query, key, value, *maps)
        return attended

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *maps = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, maps must depend on their inputs
            maps = []
        return *_backward(query, key, value, grad, maps), None


def _backward(
    query: Tensor, key: Tensor, value: Tensor, grad: Tensor, maps: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value, computed in blocks of queries.

    Args:
        query: (B, N, d).
        key: (B, M, d).
        value: (B, M, c).
        grad: gradient of the weighted values, (B, N, c).
        maps: of each block; empty to compute them again.
    """
    grad = grad.contiguous()
    blocks = _blocks(query, key)
    # The gradients of keys and values are sums over all blocks: add in float32 at least.
    wide = torch.promote_types(key.dtype, torch.float32) if len(blocks) > 1 else key.dtype
    grad_query = torch.empty_like(query)
    grad_key: Tensor | None = None
    grad_value: Tensor | None = None
    with without_autocast(query):
        for rows, attention in zip_longest(blocks, maps):
            by_query, by_key, by_value = _gradients(
                query[:, rows], key, value, grad[:, rows], attention
            )
            if len(blocks) == 1:
                grad_query = by_query
            else:
                grad_query[:, rows] = by_query
            grad_key = grad_key.add_(by_key) if grad_key is not None else by_key.to(wide)
            grad_value = grad_value.add_(by_value) if grad_value is not None else by_value.to(wide)
    assert grad_key is not None
    assert grad_value is not None
    return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype)


def _blocks(query: Tensor, key: Tensor) -> list[slice]:
    rows = max(MIN_BLOCK_ROWS, _block_entries(query) // key.shape[1])
    return [slice(start, start + rows) for start in range(0, query.shape[1], rows)]


def _gradients(
    query: Tensor, key: Tensor, value: Tensor, grad: Tensor, attention: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query (B, N, d), key (B, M, d) and value (B, M, c).

    Every operation here is differentiable, and hence the backward pass is, too.

    Args:
        query: (B, N, d).
        key: (B, M, d).
        value: (B, M, c).
        grad: gradient of the weighted values, (B, N, c).
        attention: the map (B, N, M), or None to compute it again.
    """
    attention = attention if attention is not None else attention_map(query, key)
    grad_map = torch.bmm(grad, value.transpose(1, 2))
    grad_scores = torch._softmax_backward_data(grad_map, attention, -1, attention.dtype)
    return (
        _weighted(grad_scores, key),
        _weighted_by_columns(grad_scores, query),
        _weighted_by_columns(attention, grad),
    )


def _weighted(weights: Tensor, x: Tensor) -> Tensor:
    """Multiply weights (B, N, M) by x (B, M, c) -> (B, N, c).

    CPU libraries multiply a large matrix by a narrow one up to seven times faster if the narrow one
    comes first and the long side of the large one is last.
    """
    if x.shape[2] < NARROW_CHANNELS:
        return torch.bmm(x.transpose(1, 2), weights.transpose(1, 2)).transpose(1, 2)
    return torch.bmm(weights, x)


def _weighted_by_columns(weights: Tensor, x: Tensor) -> Tensor:
    """Multiply the transpose of weights (B, N, M) by x (B, N, c) -> (B, M, c); see `_weighted`."""
    if x.shape[2] < NARROW_CHANNELS_BY_COLUMNS:
        return torch.bmm(x.transpose(1, 2), weights).transpose(1, 2)
    return torch.bmm(weights.transpose(1, 2), x)


BACKENDS: dict[str, AttentionKernel] = {"eager": eager, "flash": flash, "chunked": chunked}


def select_backend(query: Tensor, key: Tensor, value: Tensor) -> AttentionKernel:
    """Choose the kernel for `backend="auto"` by shape and device, never by a timing.

    Two runs on similar machines therefore choose the same one, which bit-exact resuming requires.
    GPUs have fused kernels; on a CPU these are slower than matrix products on blocks of the map.
    """
    if query.device.type != "cpu":
        return flash
    return eager if query.shape[1] * key.shape[1] <= MAX_EAGER_ENTRIES else chunked
