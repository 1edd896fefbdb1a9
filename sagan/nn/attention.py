"""The self-attention layer of SAGAN (Zhang et al. 2018, arXiv 1805.08318, section 3).

For a feature map x with N = H*W positions, 1x1 convolutions compute keys f(x) and queries g(x)
with C/8 channels, and values h(x):

    attention[j, i] = softmax over i of  f(x_i) . g(x_j)         (equation 1)
    o_j             = v(sum over i of attention[j, i] h(x_i))     (equation 2)
    y_j             = gamma * o_j + x_j                           (equation 3)

Scores are not scaled by 1/sqrt(d). Gamma starts at 0, so that a network first learns from local
cues and then gives more weight to distant ones. The paper, its released code and the popular
PyTorch layer differ in v, in h and in the positions i that are attended to: see `FORMS`.

At high learning rates scores grow until every position attends to one key. `scores="cosine"`, which
is not SAGAN's, bounds them (Henry et al. 2020, arXiv 2010.04245): f and g are scaled to unit
length, and their products by one learned number.

`sagan.nn.attention_kernels` has the fast ways to compute equations 1 and 2.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.nn.attention_kernels import (
    BACKENDS,
    AttentionKernel,
    BackendName,
    attention_map,
    plain,
    select_backend,
)
from sagan.nn.channels import QUERY_DIVISOR
from sagan.nn.initialization import Initializer, initialize_layers
from sagan.nn.inputs import check_initializer, check_whole
from sagan.nn.precision import times_scalar
from sagan.nn.spectral_norm import apply_spectral_norm

FormName: TypeAlias = Literal["full", "paper", "pooled"]
ScoresName: TypeAlias = Literal["dot", "cosine"]

# A key that points where the query does starts with e^4 = 55 times the weight of an orthogonal one.
INITIAL_SCALE = 4.0


@dataclass(frozen=True)
class AttentionForm:
    """How a published version of the layer departs from the equations.

    Attributes:
        value_divisor: values have C / value_divisor channels.
        output: whether a 1x1 convolution (v in equation 2) brings them back to C.
        pool: whether keys and values are 2x2 max-pooled, so that M = N/4 positions are attended to.
        bias: whether the 1x1 convolutions have a bias.
    """

    value_divisor: int
    output: bool
    pool: bool
    bias: bool


FORMS: dict[FormName, AttentionForm] = {
    # The popular PyTorch layer.
    "full": AttentionForm(value_divisor=1, output=False, pool=False, bias=True),
    # The text of the paper, section 3: "C/8".
    "paper": AttentionForm(value_divisor=8, output=True, pool=False, bias=False),
    # The authors' released code.
    "pooled": AttentionForm(value_divisor=2, output=True, pool=True, bias=False),
}


class SelfAttention2d(nn.Module):
    """Self-attention over the positions of a feature map, in one of three published forms.

    `query`, `key`, `value` and, unless the form is "full", `output` are 1x1 convolutions. `gamma`
    is a scalar parameter; it starts at 0, where the layer is the identity.

    Args:
        channels: C of the input and the output, at least 8.
        form: "full" (values C wide, no output convolution, biases; the popular PyTorch layer),
            "paper" (values C/8 wide, then back to C) or "pooled" (keys and values 2x2 max-pooled,
            values C/2 wide, then back to C; the authors' released code).
        spectral_norm: whether the convolutions are spectrally normalized, as in the networks of
            the paper. If so, your own training loop must call
            `sagan.nn.spectral_norm.advance_spectral_norm` before each update; otherwise the
            estimate of sigma never changes, and a warning says so.
        backend: "eager" keeps the (N, M) map for backward; "flash" and "chunked" give the same
            result in O(N) memory; "auto" chooses by shape and device. All are differentiable
            twice; a backward pass with `create_graph=True` keeps the map.
        initializer: sets each convolution's weight, in place, before it is normalized, and with it
            the biases become 0; None for the initial values of `nn.Conv2d`.
        scores: "dot", or "cosine" for keys and queries of unit length and a learned `scale`.

    A state dict of the popular layer (`query_conv`, `key_conv`, `value_conv`, `gamma`)
    loads into `form="full", spectral_norm=False`.

    In float16, scores and their softmax are computed in float32: without 1/sqrt(d), scores may
    overflow. Inside the transforms of `torch.func`, and in what `torch.export` makes of the layer,
    the map is kept, whichever backend the layer has.

    Raises:
        ValueError: form, backend or scores are unknown, or there are fewer than 8 channels.
        TypeError: `channels` is not a whole number, or `initializer` is not a function.
    """

    def __init__(
        self,
        channels: int,
        form: FormName = "full",
        spectral_norm: bool = False,
        backend: BackendName = "auto",
        initializer: Initializer | None = None,
        scores: ScoresName = "dot",
    ) -> None:
        super().__init__()
        check_whole(channels=channels)
        if scores not in get_args(ScoresName):
            raise ValueError(f"unknown scores {scores!r}: choose from dot, cosine")
        if form not in FORMS:
            raise ValueError(f"unknown form {form!r}: choose from {', '.join(FORMS)}")
        if backend != "auto" and backend not in BACKENDS:
            raise ValueError(f"unknown backend {backend!r}: choose auto, {', '.join(BACKENDS)}")
        if channels < QUERY_DIVISOR:
            raise ValueError(f"{channels} channels are too few: queries have C/8; use at least 8")
        self.form = form
        self.backend = backend
        published = FORMS[form]
        self.pool = published.pool
        self.has_output = published.output

        query_channels = channels // QUERY_DIVISOR
        value_channels = channels // published.value_divisor
        self.query = nn.Conv2d(channels, query_channels, kernel_size=1, bias=published.bias)  # g
        self.key = nn.Conv2d(channels, query_channels, kernel_size=1, bias=published.bias)  # f
        self.value = nn.Conv2d(channels, value_channels, kernel_size=1, bias=published.bias)  # h
        if self.has_output:  # v
            self.output = nn.Conv2d(value_channels, channels, kernel_size=1, bias=published.bias)
        self.gamma = nn.Parameter(torch.zeros(()))
        self.scale: nn.Parameter | None = None
        if scores == "cosine":
            self.scale = nn.Parameter(torch.tensor(INITIAL_SCALE))
        if initializer is not None:
            check_initializer(initializer)
            initialize_layers(self.children(), initializer)
        if spectral_norm:
            apply_spectral_norm(self, (nn.Conv2d,))
        self.register_load_state_dict_pre_hook(_rename_popular_layer)

    @overload
    def forward(self, x: Tensor, return_attention: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, return_attention: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(self, x: Tensor, return_attention: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Attend: x (B, C, H, W) -> y (B, C, H, W), of x's dtype.

        With `return_attention`, also return the map (B, N, M), with rows that sum to 1: N = H*W
        positions in row-major order, M = N, or floor(H/2) * floor(W/2) when pooled. Then y is
        computed from this map, whichever backend the layer has.

        Raises:
            ValueError: x has another number of dimensions or channels, or is too small to be
                pooled.
        """
        query, key = self._query_and_key(x)  # checks x
        if return_attention:
            attention = attention_map(query, key)  # equation 1
            return self.attend(x, attention), attention
        value = self._values(x)
        kernel = self._kernel(query, key, value)
        return self._combine(kernel(query, key, value), x)

    def attend(self, x: Tensor, attention: Tensor) -> Tensor:
        """Return y (B, C, H, W) for x (B, C, H, W) and any weights (B, N, M): equations 2 and 3."""
        return self._combine(attention @ self._values(x), x)

    def attention(self, x: Tensor) -> Tensor:
        """Return only the map (B, N, M) that `forward` uses for x (B, C, H, W)."""
        return attention_map(*self._query_and_key(x))

    def map_size(self, rows: int, columns: int) -> int:
        """Return the number of weights, N * M, in one image's map for a rows x columns input."""
        keys = (rows // 2) * (columns // 2) if self.pool else rows * columns
        return rows * columns * keys

    def multiplications(self, rows: int, columns: int) -> int:
        """Return how many multiplications one image of rows x columns positions takes.

        Of the convolutions, and of the products of equations 1 and 2.
        """
        convolutions = [layer for layer in self.children() if isinstance(layer, nn.Conv2d)]
        weights = sum(layer.weight.numel() for layer in convolutions)
        widths = self.query.out_channels + self.value.out_channels
        return rows * columns * weights + self.map_size(rows, columns) * widths

    def _query_and_key(self, x: Tensor) -> tuple[Tensor, Tensor]:
        channels = self.query.in_channels
        if x.dim() != 4 or x.shape[1] != channels:
            raise ValueError(
                f"self-attention takes feature maps of shape (B, {channels}, H, W), "
                f"not {tuple(x.shape)}"
            )
        if self.pool and min(x.shape[-2:]) < 2:
            raise ValueError(f"a {x.shape[-2]} x {x.shape[-1]} feature map cannot be 2x2 pooled")
        query = _positions(self.query(x))  # g(x): (B, N, C/8)
        key = _positions(self._pooled(self.key(x)))  # f(x): (B, M, C/8)
        if self.scale is not None:
            query = self.scale.to(query.dtype) * _unit_length(query)
            key = _unit_length(key)
        return query, key

    def _values(self, x: Tensor) -> Tensor:
        """h(x): (B, M, c), c = C, C/2 or C/8."""
        return _positions(self._pooled(self.value(x)))

    def _pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if self.pool else x

    def _kernel(self, query: Tensor, key: Tensor, value: Tensor) -> AttentionKernel:
        # Blocks depend on the batch size, which an exported graph leaves open.
        if torch._C._are_functorch_transforms_active() or torch.compiler.is_exporting():
            return plain
        if self.backend == "auto":
            return select_backend(query, key, value)
        return BACKENDS[self.backend]

    def _combine(self, attended: Tensor, x: Tensor) -> Tensor:
        """Apply v of equation 2, then equation 3: attended (B, N, c) and x (B, C, H, W) -> y."""
        o = attended.transpose(1, 2).unflatten(2, x.shape[-2:])  # (B, c, H, W)
        if self.has_output:
            o = self.output(o)
        # Not torch.addcmul, whose gradient takes twice as long.
        return x + times_scalar(o, self.gamma)


def _positions(x: Tensor) -> Tensor:
    """(B, c, H, W) -> (B, H*W, c), without a copy if x is channels_last."""
    return x.flatten(2).transpose(1, 2)


def _unit_length(x: Tensor) -> Tensor:
    """Scale vectors (B, N, c) to length 1."""
    # In float16, squares overflow or vanish, and so does the bound that keeps 0 / 0 away.
    wide = x.float() if x.dtype == torch.float16 else x
    return F.normalize(wide, dim=2).to(x.dtype)


@contextmanager
def recorded_maps(layers: Mapping[str, SelfAttention2d]) -> Iterator[dict[str, Tensor]]:
    """Record each layer's map (B, N, M) in the yielded dict during forward passes in the context.

    Only the maps of the last pass are kept. They are computed separately from the layer's output,
    whichever backend it runs, so that recording does not change the pass itself.

    Args:
        layers: the layers to record, by the names that the maps will have.
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
    """Accept the popular layer's state dict: `query_conv` and so on, gamma of shape (1,)."""
    for name in ("query", "key", "value"):
        for parameter in ("weight", "bias"):
            popular = f"{prefix}{name}_conv.{parameter}"
            if popular in state_dict:
                state_dict[f"{prefix}{name}.{parameter}"] = state_dict.pop(popular)
    gamma = state_dict.get(f"{prefix}gamma")
    if isinstance(gamma, Tensor) and gamma.shape == (1,):
        state_dict[f"{prefix}gamma"] = gamma.reshape(())
