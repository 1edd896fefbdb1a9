"""The self-attention layer of SAGAN (Zhang et al. 2018, arXiv 1805.08318, section 3).

For a feature map x with N = H*W positions, keys f(x) and queries g(x) with C/8 channels and
values h(x), each by a 1x1 convolution:

    attention[j, i] = softmax over i of  f(x_i) . g(x_j)         (equation 1)
    o_j             = v(sum over i of attention[j, i] h(x_i))     (equation 2)
    y_j             = gamma * o_j + x_j                           (equation 3)

There is no 1/sqrt(d) scale, and gamma starts at 0: the network first learns from local cues, then
to weigh in far ones. The paper, its released code and the popular PyTorch layer differ in what
v, h and the set of keys are; `FORMS` holds all three.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.nn.attention_kernels import (
    BACKENDS,
    AttentionKernel,
    BackendName,
    attention_map,
    select_backend,
)
from sagan.nn.channels import QUERY_DIVISOR
from sagan.nn.spectral_norm import apply_spectral_norm


@dataclass(frozen=True)
class AttentionForm:
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
    "full": AttentionForm(
        value_divisor=1, output=False, pool=False, bias=True
    ),  # the popular PyTorch layer
    "paper": AttentionForm(
        value_divisor=8, output=True, pool=False, bias=False
    ),  # section 3, "C/8"
    "pooled": AttentionForm(
        value_divisor=2, output=True, pool=True, bias=False
    ),  # the released code
}

FormName: TypeAlias = Literal["full", "paper", "pooled"]


class SelfAttention2d(nn.Module):
    """Self-attention over the positions of a feature map, as published in three forms.

    Parameters `query`, `key`, `value` and, unless the form is "full", `output` are 1x1
    convolutions; `gamma` is a scalar, 0 at the start, where the layer is the identity.

    Args:
        channels: C of the input and the output, at least 8.
        form: "full" (values C wide, no output convolution, biases; the popular PyTorch layer),
            "paper" (values C/8 wide, then back to C) or "pooled" (keys and values 2x2 max-pooled,
            values C/2 wide, then back to C; the authors' released code).
        spectral_norm: whether the convolutions are spectrally normalized; in a training loop of
            your own call `sagan.nn.spectral_norm.advance_spectral_norm` before each
            update, or sigma stays.
        backend: "eager" keeps the (N, M) map for backward; "flash" and "chunked" give the same
            result in O(N) memory; "auto" picks by shape and device.

    A state dict of the popular layer (`query_conv`, `key_conv`, `value_conv`, `gamma`)
    loads into `form="full", spectral_norm=False`.

    Use float32 or bfloat16: scores have no 1/sqrt(d) and may exceed what float16 holds.
    `torch.func`'s transforms want "flash": the other two have a backward pass of their own.

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

        With `return_attention` also the map (B, N, M), rows summing to 1: N = H*W positions in
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
        """The map (B, N, M) alone that `forward` uses for x (B, C, H, W)."""
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

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> AttentionKernel:
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
    """Accept the popular layer's names: `query_conv` and so on, gamma of shape (1,)."""
    for name in ("query", "key", "value"):
        for parameter in ("weight", "bias"):
            popular = f"{prefix}{name}_conv.{parameter}"
            if popular in state_dict:
                state_dict[f"{prefix}{name}.{parameter}"] = state_dict.pop(popular)
    gamma = state_dict.get(f"{prefix}gamma")
    if isinstance(gamma, Tensor) and gamma.shape == (1,):
        state_dict[f"{prefix}gamma"] = gamma.reshape(())
