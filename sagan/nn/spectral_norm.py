"""Spectral normalization (Miyato et al. 2018, arXiv 1802.05957): W_SN = W / sigma(W).

sigma(W), the largest singular value, is estimated by power iteration with two vectors u and v that
are kept between steps (their Algorithm 1). Unlike in common implementations, a forward pass never
changes u and v. Only `advance_spectral_norm` and `normalized_once(advance=True)` do. The training
step does this once per optimizer update of a network, so that evaluation, gradient accumulation and
the other network's step leave u and v alone. Everything runs in the weight's own dtype, usually
float32, with autocast off.

Initialize a layer's weight *before* `apply_spectral_norm`: afterward `layer.weight` is computed
from another parameter, and `nn.init` on it does nothing. The next forward pass warns about that,
and about training without `advance_spectral_norm`. Assigning works: `layer.weight = tensor` sets
the parameter that is normalized.
"""

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sagan.nn.precision import without_autocast
from sagan.nn.stacked_norms import StackedNorms

_INITIAL_ITERATIONS = 15  # so that sigma is already close to the true value in the first step
_WATCHED_READS = 8  # of a new layer's weight, during which writing to the result is noticed
_STALE_UPDATES = 3  # of a weight without advancing: more than a slip, and sigma is still close


def _convolution_matrix(weight: Tensor) -> Tensor:
    """(out, in, h, w) -> (out, h*w*in), without a copy if the weight is channels_last."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _transposed_convolution_matrix(weight: Tensor) -> Tensor:
    """(in, out, h, w), the layout of transposed convolutions -> (out, in*h*w)."""
    return weight.permute(0, 2, 3, 1).flatten(0, 2).T


def _matrix(weight: Tensor) -> Tensor:
    """(outputs, inputs) of a linear layer or (labels, channels) of an embedding: unchanged."""
    return weight


_MATRICES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Conv2d: _convolution_matrix,
    nn.ConvTranspose2d: _transposed_convolution_matrix,
    nn.Linear: _matrix,
    nn.Embedding: _matrix,
}

NORMALIZABLE = tuple(_MATRICES)


def _weight_matrix(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    for kind, matrix in _MATRICES.items():
        if isinstance(layer, kind):
            return matrix
    raise TypeError(f"{type(layer).__name__} has no weight with a spectral norm")


class SpectralNorm(nn.Module):
    """The parametrization W -> W / (u^T W v) of one weight, with u (rows,) and v (columns,)."""

    u: Tensor
    v: Tensor

    def __init__(
        self, weight: Tensor, matrix: Callable[[Tensor], Tensor], eps: float, warned: set[str]
    ) -> None:
        super().__init__()
        self.matrix = matrix
        self.eps = eps
        rows, columns = matrix(weight.detach()).shape
        self.register_buffer("u", F.normalize(_fixed_start(rows), dim=0, eps=eps).to(weight))
        self.register_buffer("v", weight.new_zeros(columns))
        self.shared: Tensor | None = None  # the result of every read within `normalized_once`
        self._misuse = _MisuseWarnings(warned)

    def __getstate__(self) -> dict[str, Any]:
        # A deep copy within `normalized_once` is not part of it.
        return self.__dict__ | {"shared": None}

    def sigma(self, weight: Tensor) -> Tensor:
        """Return the estimate u^T W v, a scalar that W gets gradients through."""
        u, v = self.u.clone(), self.v.clone()  # they may advance before the backward pass
        with without_autocast(weight):
            return torch.dot(u, torch.mv(self.matrix(weight), v))

    def advanced(self) -> None:
        """Take note that u and v are those of the latest weight."""
        self._misuse.stale_updates = 0

    def forward(self, weight: Tensor) -> Tensor:
        if self.shared is not None:
            return self.shared
        normalized = weight / self.sigma(weight)
        if _is_ordinary(weight):
            self._misuse.check_written()
            self._misuse.remember(normalized)
            if self.training and torch.is_grad_enabled() and weight.requires_grad:
                self._misuse.check_stale(weight)
        return normalized

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Take a raw weight, and estimate its sigma: the first one, or one that is assigned."""
        # A weight on the meta device has no values: u and v are loaded later, together with it.
        if not weight.is_meta:
            ((_, alone),) = _stacked([(self, weight.detach())])
            for _ in range(_INITIAL_ITERATIONS):
                alone.advance()
            self.advanced()
        return weight


class _MisuseWarnings:
    """What a normalized weight remembers in order to warn, once each, about two mistakes.

    Args:
        warned: the warnings given so far, which the weights of a network share.

    Attributes:
        stale_updates: changes of the weight, as seen by forward passes, since u and v advanced.
    """

    def __init__(self, warned: set[str]) -> None:
        self.stale_updates = 0
        self._warned = warned
        self._version: int | None = None  # of the raw weight; in-place operations increment it
        self._reads = 0
        self._returned: tuple[Tensor, Tensor] | None = None  # what was returned, and a copy

    def __deepcopy__(self, memo: dict[int, Any]) -> "_MisuseWarnings":
        return _MisuseWarnings(copy.deepcopy(self._warned, memo))

    def remember(self, normalized: Tensor) -> None:
        """Keep what is about to be returned, if initialization may still write to it.

        A layer's first reads are those of initialization and of its first steps. After them this
        costs nothing.
        """
        if self._reads < _WATCHED_READS:
            self._reads += 1
            self._returned = (normalized.detach(), normalized.detach().clone())

    def check_written(self) -> None:
        """Warn if somebody wrote to the normalized weight, which is a computed tensor."""
        returned, self._returned = self._returned, None
        if not returned or torch.equal(*returned) or returned[1].isnan().any():
            return
        self._warn(
            "a spectrally normalized weight was set in place, which has no effect, since it is "
            "computed from another parameter: initialize before normalization (pass "
            "initializer=... to SelfAttention2d or the networks), or assign: layer.weight = tensor"
        )

    def check_stale(self, weight: Tensor) -> None:
        """Warn if the weight was updated several times, but u and v never advanced."""
        if weight._version == self._version:
            return
        self.stale_updates += self._version is not None
        self._version = weight._version
        if self.stale_updates == _STALE_UPDATES:
            self._warn(
                f"a spectrally normalized weight changed {_STALE_UPDATES} times while its sigma "
                "was not estimated again: call sagan.nn.spectral_norm.advance_spectral_norm("
                "network) before each update of the network"
            )

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, stacklevel=2)


def _is_ordinary(weight: Tensor) -> bool:
    """Return whether code in Python may keep tensors computed from this weight.

    It may not while torch traces or transforms it.
    """
    return (
        type(weight) is nn.Parameter
        and not weight.is_meta
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not torch._C._are_functorch_transforms_active()
    )


def _fixed_start(size: int) -> Tensor:
    """Return the first u (size,): random, but the same in every layer and run of that size.

    The power iteration forgets its start, so this does not depend on the run's seed.
    """
    return torch.randn(size, generator=torch.Generator().manual_seed(size), device="cpu")


@dataclass(frozen=True)
class SpectralSpec:
    """How a network's weights are spectrally normalized.

    A training loop of your own must call `advance_spectral_norm` before each update of the network.
    Otherwise the estimate of sigma never changes.

    Attributes:
        eps: lower bound on the norms that u and v are divided by.

    Raises:
        ValueError: `eps` is negative, not finite or not a number.
    """

    eps: float = 1e-12

    def __post_init__(self) -> None:
        if not isinstance(self.eps, int | float) or not 0 <= self.eps < math.inf:
            raise ValueError(f"eps must be a small number such as 1e-12, not {self.eps!r}")


def check_spectral_spec(spec: object) -> None:
    """Check the `spectral_norm` argument of a network.

    Raises:
        TypeError: it is neither a `SpectralSpec` nor None.
    """
    if spec is not None and not isinstance(spec, SpectralSpec):
        raise TypeError(f"spectral_norm must be SpectralSpec() or None, not {spec!r}")


def apply_spectral_norm(
    network: nn.Module, kinds: tuple[type[nn.Module], ...], eps: float = 1e-12
) -> None:
    """Normalize, in place, the `weight` of `network` and its submodules, if of these kinds.

    Args:
        network: the module to change; weights must already have their initial values.
        kinds: any of Conv2d, ConvTranspose2d, Linear, Embedding (`NORMALIZABLE`).
        eps: lower bound on the norms that u and v are divided by.

    Raises:
        TypeError: a kind has no weight that we know as a matrix.
        ValueError: a weight is already parametrized in another way.
    """
    for kind in kinds:
        if not issubclass(kind, NORMALIZABLE):
            raise TypeError(f"spectral normalization of {kind.__name__} is not defined")
    warned: set[str] = set()
    for layer in list(network.modules()):
        if isinstance(layer, kinds) and not is_spectrally_normalized(layer):
            if parametrize.is_parametrized(layer, "weight"):
                raise ValueError(f"the weight of a {type(layer).__name__} is already parametrized")
            matrix = _weight_matrix(layer)
            norm = SpectralNorm(layer.weight, matrix, eps, warned)  # type: ignore[arg-type]
            parametrize.register_parametrization(layer, "weight", norm, unsafe=True)


def is_spectrally_normalized(layer: nn.Module) -> bool:
    """Return whether this layer's weight is spectrally normalized."""
    return _norm_and_weight(layer)[0] is not None


def _norm_and_weight(layer: nn.Module) -> tuple[Any, Any]:
    """Return a normalized layer's norm and raw weight; (None, None) for any other layer."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None, None
    parametrization: Any = layer.parametrizations["weight"]  # type: ignore[index]
    if not isinstance(parametrization[0], SpectralNorm):
        return None, None
    return parametrization[0], parametrization.original


def _normalized(network: nn.Module) -> Iterator[tuple[str, SpectralNorm, Tensor]]:
    """Yield the dotted name, the norm and the raw weight of each normalized layer of a network."""
    for name, layer in network.named_modules():
        if is_spectrally_normalized(layer):
            yield name, *_norm_and_weight(layer)


def advance_spectral_norm(network: nn.Module) -> None:
    """Do one power iteration in every normalized layer; call it once per update of `network`.

    Layers whose weight is frozen (`requires_grad=False`) are left alone: they stay the same
    function, bit for bit.
    """
    _advance(_stacked(_layers(network, trained=True)))


@contextmanager
def normalized_once(network: nn.Module, advance: bool) -> Iterator[None]:
    """Normalize all weights of a network together, once for every read within the context.

    This takes a few batched operations, where each read of each layer takes several of its own.
    Changes of the weights within the context are not seen there.

    Args:
        network: the network.
        advance: do one power iteration first, as `advance_spectral_norm`, for an update of this
            network. Otherwise the weights are constants: gradients do not reach the parameters.
    """
    groups = _stacked(_layers(network, trained=advance))
    before = [(norm, norm.shared) for norms, _ in groups for norm in norms]
    if advance:
        _advance(groups)
    else:
        for _, stacked in groups:
            stacked.estimate()
    with torch.set_grad_enabled(advance):
        weights = [weight for _, stacked in groups for weight in stacked.normalized()]
    try:
        for (norm, _), weight in zip(before, weights, strict=True):
            norm.shared = weight
        yield
    finally:
        for norm, shared in before:
            norm.shared = shared


_Groups: TypeAlias = list[tuple[list[SpectralNorm], StackedNorms]]


def _layers(network: nn.Module, trained: bool) -> list[tuple[SpectralNorm, Tensor]]:
    """Return norms and raw weights; only those that are not frozen if `trained`."""
    return [(n, w) for _, n, w in _normalized(network) if w.requires_grad or not trained]


def _advance(groups: _Groups) -> None:
    for norms, stacked in groups:
        stacked.advance()
        for norm in norms:
            norm.advanced()


def _stacked(layers: list[tuple[SpectralNorm, Tensor]]) -> _Groups:
    """Return the norms that can be computed together, and their weights in stacks."""
    groups: dict[Any, list[tuple[SpectralNorm, Tensor]]] = {}
    for norm, weight in layers:
        key = norm.matrix is _transposed_convolution_matrix, weight.dtype, weight.device
        groups.setdefault(key, []).append((norm, weight))
    found = []
    for (transposed, *_), members in groups.items():
        norms, weights = [norm for norm, _ in members], [weight for _, weight in members]
        u, v, eps = zip(*((norm.u, norm.v, norm.eps) for norm in norms), strict=True)
        found.append((norms, StackedNorms(weights, u, v, eps, transposed)))
    return found


@torch.no_grad()
def sigma_of(layer: nn.Module) -> Tensor:
    """Return the spectral norm of a layer's own raw weight, a scalar.

    For a normalized layer it is the running estimate u^T W v, otherwise the exact value (an SVD).

    Raises:
        TypeError: the layer has no weight that we know as a matrix.
    """
    if is_spectrally_normalized(layer):
        norm, weight = _norm_and_weight(layer)
        return norm.sigma(weight)
    matrix = _weight_matrix(layer)(layer.weight.float())  # type: ignore[arg-type]
    return torch.linalg.matrix_norm(matrix, ord=2)


@torch.no_grad()
def sigmas_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the running estimate of sigma of each normalized layer, by the layer's dotted name."""
    return {name: norm.sigma(weight) for name, norm, weight in _normalized(network)}


def fold_spectral_norm(network: nn.Module) -> None:
    """Replace, in place, each normalized weight by its value, for inference.

    Outputs stay the same. The layers are ordinary layers afterward, and training them would no
    longer normalize their weights.
    """
    for layer in list(network.modules()):
        if is_spectrally_normalized(layer):
            # Deep copies share the class that torch made for this layer. Removing its property
            # would break all of them, so remove it from a copy of the class.
            kind = type(layer)
            layer.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
