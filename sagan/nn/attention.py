"""The self-attention layer of SAGAN (Zhang et al. 2018, arXiv 1805.08318, section 3).

For a feature map x with N = H*W positions, keys f(x) and queries g(x) with C/8 channels and
values h(x), each by a 1x1 convolution:

    attention[j, i] = softmax over i of  f(x_i) . g(x_j)         (equation 1)
    o_j             = v(sum over i of attention[j, i] h(x_i))     (equation 2)
    y_j             = gamma * o_j + x_j                           (equation 3)

There is no 1/sqrt(d) scale, and gamma starts at 0: the network first learns from local cues, then
to weigh in far ones. The paper, its released code and the popular PyTorch layer differ in what
v, h and the set of keys are; :data:`FORMS` holds all three.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, TypeAlias, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.nn.channels import QUERY_DIVISOR
from sagan.nn.precision import without_autocast
from sagan.nn.spectral_norm import apply_spectral_norm


@dataclass(frozen=True)
class Form:
    """How a published version of the layer departs from the equations.

    Attributes:
        value_divisor: values have C / value_divisor channels.
        output: whether a 1x1 convolution (v in equation 2) brings them back to C.
        pool: whether keys and values are 2x2 max-pooled, so that M = N/4 positions are attended.
        bias: whether the 1x1 convolutions have a bias.
    """

    value_divisor: int
    output: bool
    pool: bool
    bias: bool


FORMS = {
    "full": Form(value_divisor=1, output=False, pool=False, bias=True),  # the popular PyTorch layer
    "paper": Form(value_divisor=8, output=True, pool=False, bias=False),  # section 3, "C/8"
    "pooled": Form(value_divisor=2, output=True, pool=True, bias=False),  # the released code
}

FormName: TypeAlias = Literal["full", "paper", "pooled"]
BackendName: TypeAlias = Literal["auto", "eager", "flash", "chunked"]

# (B, N, d), (B, M, d), (B, M, c) -> (B, N, c)
Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


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

    Like :func:`eager` it needs no fused kernel: any device, any dtype, twice differentiable.
    """
    return _in_groups(query, key, value, keep=False)


def flash(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The same through fused scaled_dot_product_attention: O(N) memory, once differentiable.

    The fused kernels want contiguous rows of one width for all three, some only of a multiple of 8,
    hence the zeros, which change no result. Without them torch silently falls back to materialising
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
    """(B, N, M) and (B, N, c) -> (B, M, c); see :func:`_weighted`."""
    if x.shape[2] < NARROW_BY_COLUMNS:
        return torch.bmm(x.transpose(1, 2), weights).transpose(1, 2)
    return torch.bmm(weights.transpose(1, 2), x)


NARROW = 32  # channels, measured like the other constants here
NARROW_BY_COLUMNS = 128
PLAIN_ENTRIES = 2**19  # maps so small are left to autograd; up to a block if queries are not narrow
BLOCK_ENTRIES = 2**21  # of a map: 4 or 8 MB, measured to be best on CPUs
MIN_ROWS = 512  # matrix products with fewer are slow, even where these no longer fit the cache
GPU_BLOCK_ENTRIES = 2**26  # only to bound memory: small blocks would leave a GPU idle
KEPT_ENTRIES = 2**24  # an image's map up to 4096 x 4096 is kept; a larger one is computed twice

BACKENDS: dict[str, Attend] = {"eager": eager, "flash": flash, "chunked": chunked}


def select_backend(query: Tensor, key: Tensor, value: Tensor) -> Attend:
    """What ``backend="auto"`` runs: a function of shape and device only, never of a timing.

    Two runs on like machines therefore choose alike, which bit-exact resuming needs. GPUs have
    fused kernels; a CPU's are slower than matrix products on blocks of the map.
    """
    if query.device.type != "cpu":
        return flash
    return eager if query.shape[1] * key.shape[1] <= KEPT_ENTRIES else chunked


class SelfAttention2d(nn.Module):
    """Self-attention over the positions of a feature map, as published in three forms.

    Parameters ``query``, ``key``, ``value`` and, unless the form is "full", ``output`` are 1x1
    convolutions; ``gamma`` is a scalar, 0 at the start, where the layer is the identity.

    Args:
        channels: C of the input and the output, at least 8.
        form: "full" (values C wide, no output convolution, biases; the popular PyTorch layer),
            "paper" (values C/8 wide, then back to C) or "pooled" (keys and values 2x2 max-pooled,
            values C/2 wide, then back to C; the authors' released code).
        spectral_norm: whether the convolutions are spectrally normalized; in a training loop of
            your own call :func:`~sagan.nn.spectral_norm.advance_spectral_norm` before each
            update, or sigma stays.
        backend: "eager" keeps the (N, M) map for backward; "flash" and "chunked" give the same
            result in O(N) memory; "auto" picks by shape and device.

    A state dict of the popular layer (``query_conv``, ``key_conv``, ``value_conv``, ``gamma``)
    loads into ``form="full", spectral_norm=False``.

    Use float32 or bfloat16: scores have no 1/sqrt(d) and may exceed what float16 holds.
    ``torch.func``'s transforms want "flash": the other two have a backward pass of their own.

    Raises:
        ValueError: on an unknown form or backend, or fewer than 8 channels.
    """

    def __init__(
        self,
        channels: int,
        form: FormName = "full",
        spectral_norm: bool = True,
        backend: BackendName = "auto",
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"unknown form {form!r}: choose from {', '.join(FORMS)}")
        if backend != "auto" and backend not in BACKENDS:
            raise ValueError(f"unknown backend {backend!r}: choose auto, {', '.join(BACKENDS)}")
        if channels < QUERY_DIVISOR:
            raise ValueError(f"{channels} channels: queries have C/8, so at least 8 are needed")
        self.form = form
        self.backend = backend
        self.pool = FORMS[form].pool
        value_channels = channels // FORMS[form].value_divisor
        bias = FORMS[form].bias
        self.query = nn.Conv2d(channels, channels // QUERY_DIVISOR, kernel_size=1, bias=bias)
        self.key = nn.Conv2d(channels, channels // QUERY_DIVISOR, kernel_size=1, bias=bias)
        self.value = nn.Conv2d(channels, value_channels, kernel_size=1, bias=bias)
        self.has_output = FORMS[form].output
        if self.has_output:
            self.output = nn.Conv2d(value_channels, channels, kernel_size=1, bias=bias)
        self.gamma = nn.Parameter(torch.zeros(()))
        if spectral_norm:
            apply_spectral_norm(self, (nn.Conv2d,))
        self.register_load_state_dict_pre_hook(_rename_popular_layer)

    @overload
    def forward(self, x: Tensor, return_attention: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, return_attention: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(self, x: Tensor, return_attention: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Attend: x (B, C, H, W) -> y (B, C, H, W), of x's dtype.

        With ``return_attention`` also the map (B, N, M), rows summing to 1: N = H*W positions in
        row-major order, M = N, or floor(H/2) * floor(W/2) when pooled. The map is the one that y
        was computed with, which then always takes the eager way.

        Raises:
            ValueError: when x is too small to be pooled.
        """
        query, key = self._query_and_key(x)
        value = _positions(self._pooled(self.value(x)))  # (B, M, C, C/2 or C/8)
        if return_attention:
            attention = attention_map(query, key)
            return self._combine(attention @ value, x), attention
        attend = self._attend(query, key, value)
        return self._combine(attend(query, key, value), x)

    def attention(self, x: Tensor) -> Tensor:
        """The map (B, N, M) alone that :meth:`forward` uses for x (B, C, H, W)."""
        return attention_map(*self._query_and_key(x))

    def _query_and_key(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.pool and min(x.shape[-2:]) < 2:
            raise ValueError(f"a {x.shape[-2]} x {x.shape[-1]} feature map cannot be 2x2 pooled")
        query = _positions(self.query(x))  # (B, N, C/8)
        key = _positions(self._pooled(self.key(x)))  # (B, M, C/8)
        return query, key

    def map_size(self, side: int) -> int:
        """Weights in the attention map of one picture, N * M, on a feature map (side, side)."""
        keys = side // 2 if self.pool else side
        return side**2 * keys**2

    def _pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if self.pool else x

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Attend:
        if self.backend == "auto":
            return select_backend(query, key, value)
        return BACKENDS[self.backend]

    def _combine(self, attended: Tensor, x: Tensor) -> Tensor:
        """Equation 3, with v of equation 2: attended (B, N, c) and x (B, C, H, W) -> y."""
        o = attended.transpose(1, 2).unflatten(2, x.shape[-2:])
        if self.has_output:
            o = self.output(o)
        return x + self.gamma.to(o.dtype) * o  # addcmul's gradient takes twice as long


def _positions(x: Tensor) -> Tensor:
    """(B, c, H, W) -> (B, H*W, c), no copy when x is channels_last."""
    return x.flatten(2).transpose(1, 2)


@contextmanager
def recorded_maps(layers: Mapping[str, SelfAttention2d]) -> Iterator[dict[str, Tensor]]:
    """Within the context, forward passes leave each layer's map (B, N, M) in the yielded dict.

    Only the last pass is kept. The maps are computed beside the layer's own work, whichever
    backend it runs, so that the pass itself is not changed by being watched.
    """
    maps: dict[str, Tensor] = {}

    def record(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(layer, SelfAttention2d)
            maps[name] = layer.attention(inputs[0].detach()).detach()

        return hook

    handles = [layer.register_forward_pre_hook(record(name)) for name, layer in layers.items()]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _rename_popular_layer(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    """Accept the popular layer's names: ``query_conv`` and so on, gamma of shape (1,)."""
    for name in ("query", "key", "value"):
        for parameter in ("weight", "bias"):
            popular = f"{prefix}{name}_conv.{parameter}"
            if popular in state_dict:
                state_dict[f"{prefix}{name}.{parameter}"] = state_dict.pop(popular)
    gamma = state_dict.get(f"{prefix}gamma")
    if isinstance(gamma, Tensor) and gamma.shape == (1,):
        state_dict[f"{prefix}gamma"] = gamma.reshape(())
