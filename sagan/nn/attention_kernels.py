"""Equations 1 and 2 of the attention layer, computed in three ways that give the same result.

`eager` keeps the map for the backward pass, `chunked` computes it again there, `flash` goes
through torch's fused attention. The first two share one backward pass, written out because autograd
orders the operands of its products in a way that CPU libraries are slow at.
"""

from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from sagan.nn.precision import without_autocast

BackendName: TypeAlias = Literal["auto", "eager", "flash", "chunked"]

# (B, N, d), (B, M, d), (B, M, c) -> (B, N, c)
AttentionKernel: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]

NARROW = 32  # channels, measured like the other constants here
NARROW_BY_COLUMNS = 128
PLAIN_ENTRIES = 2**19  # maps so small are left to autograd; up to a block if queries are not narrow
BLOCK_ENTRIES = 2**21  # of a map: 4 or 8 MB, measured to be best on CPUs
MIN_ROWS = 512  # matrix products with fewer are slow, even where these no longer fit the cache
GPU_BLOCK_ENTRIES = 2**26  # only to bound memory: small blocks would leave a GPU idle
KEPT_ENTRIES = 2**24  # an image's map up to 4096 x 4096 is kept; a larger one is computed twice


def attention_map(query: Tensor, key: Tensor) -> Tensor:
    """Equation 1: queries (B, N, d) and keys (B, M, d) -> the map (B, N, M), rows sum to 1."""
    scores = torch.bmm(query, key.transpose(1, 2))
    return torch.softmax(scores, dim=-1, dtype=scores.dtype)  # autocast would widen it on GPUs


def eager(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Weighted values (B, N, c); the map is kept for backward: O(N*M) memory."""
    most = PLAIN_ENTRIES if query.shape[2] < NARROW else BLOCK_ENTRIES
    if query.shape[0] * query.shape[1] * key.shape[1] <= most:
        return torch.bmm(attention_map(query, key), value)
    return _in_groups(query, key, value, keep=torch.is_grad_enabled())


def chunked(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The same, but backward computes each block of the map anew: O(N + M) memory.

    Like `eager` it needs no fused kernel: any device, any dtype, twice differentiable.
    """
    return _in_groups(query, key, value, keep=False)


def flash(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The same through fused scaled_dot_product_attention: O(N) memory, once differentiable.

    The fused kernels want contiguous rows of one width for all three, some only of a multiple of 8,
    hence the zeros, which change no result. Without them torch silently falls back to materializing
    the map.
    """
    width = -(-value.shape[-1] // 8) * 8
    query, key, padded = (
        F.pad(x, (0, width - x.shape[-1])).contiguous().unsqueeze(1) for x in (query, key, value)
    )
    attended = F.scaled_dot_product_attention(query, key, padded, scale=1.0)
    return attended.squeeze(1)[..., : value.shape[-1]]


def _in_groups(query: Tensor, key: Tensor, value: Tensor, keep: bool) -> Tensor:
    """Attend in groups of images whose maps stay in cache together.

    On a CPU this is what makes it fast. A map is many times larger than what it is computed from,
    so that an operation on a whole batch of them waits for memory.
    """
    images = max(1, _block_entries(query) // (query.shape[1] * key.shape[1]))
    if images >= query.shape[0]:
        return _Attention.apply(query, key, value, keep)
    groups = zip(query.split(images), key.split(images), value.split(images), strict=True)
    return torch.cat([_Attention.apply(*group, keep) for group in groups])


def _block_entries(query: Tensor) -> int:
    return BLOCK_ENTRIES if query.device.type == "cpu" else GPU_BLOCK_ENTRIES


class _Attention(torch.autograd.Function):
    """Attention in blocks of queries: of a map too large for the cache, some rows at a time.

    The results of several blocks are written into place. Kept as parts, they would come to lie in
    between the blocks' memory, which then could not be used for the next block.

    Both ways run in the operands' own dtype, whether or not autocast is on: a backward pass may be
    under another one than its forward pass was.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, keep: bool) -> Tensor:
        ctx.rows = max(MIN_ROWS, _block_entries(query) // key.shape[1])
        attended = value.new_empty(*query.shape[:2], value.shape[2])
        maps = []
        blocks = _blocks(query, ctx.rows)
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
        if torch.is_grad_enabled():  # a second derivative needs maps that depend on their inputs
            maps = []
        grad = grad.contiguous()
        blocks = _blocks(query, ctx.rows)
        # All blocks add to the gradients of keys and values: in float32 at least.
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
                grad_key = by_key.to(wide) if grad_key is None else grad_key.add_(by_key)
                grad_value = by_value.to(wide) if grad_value is None else grad_value.add_(by_value)
        assert grad_key is not None
        assert grad_value is not None
        return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype), None


def _blocks(query: Tensor, rows: int) -> list[slice]:
    return [slice(start, start + rows) for start in range(0, query.shape[1], rows)]


def _gradients(
    query: Tensor, key: Tensor, value: Tensor, grad: Tensor, attention: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by query (B, N, d), key (B, M, d) and value (B, M, c), for grad (B, N, c).

    Everything here is differentiable, hence so is the backward pass.
    """
    if attention is None:
        attention = attention_map(query, key)
    grad_map = torch.bmm(grad, value.transpose(1, 2))
    grad_scores = torch._softmax_backward_data(grad_map, attention, -1, attention.dtype)
    return (
        _weighted(grad_scores, key),
        _weighted_by_columns(grad_scores, query),
        _weighted_by_columns(attention, grad),
    )


def _weighted(weights: Tensor, x: Tensor) -> Tensor:
    """(B, N, M) and (B, M, c) -> (B, N, c).

    CPU libraries multiply a large matrix by a narrow one up to seven times as fast when the narrow
    one comes first and the long side of the large one last.
    """
    if x.shape[2] < NARROW:
        return torch.bmm(x.transpose(1, 2), weights.transpose(1, 2)).transpose(1, 2)
    return torch.bmm(weights, x)


def _weighted_by_columns(weights: Tensor, x: Tensor) -> Tensor:
    """(B, N, M) and (B, N, c) -> (B, M, c); see `_weighted`."""
    if x.shape[2] < NARROW_BY_COLUMNS:
        return torch.bmm(x.transpose(1, 2), weights).transpose(1, 2)
    return torch.bmm(weights.transpose(1, 2), x)


BACKENDS: dict[str, AttentionKernel] = {"eager": eager, "flash": flash, "chunked": chunked}


def select_backend(query: Tensor, key: Tensor, value: Tensor) -> AttentionKernel:
    """What `backend="auto"` runs: a function of shape and device only, never of a timing.

    Two runs on like machines therefore choose alike, which bit-exact resuming needs. GPUs have
    fused kernels; a CPU's are slower than matrix products on blocks of the map.
    """
    if query.device.type != "cpu":
        return flash
    return eager if query.shape[1] * key.shape[1] <= KEPT_ENTRIES else chunked
