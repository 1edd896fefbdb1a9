"""Tensors of another project's network, taken by name: layers, batch norms, attention.

Spectral normalization is stored in three ways: a raw weight with u and v, as `torch.nn.utils`
does; a raw weight with u alone, from which each forward pass does one power iteration
(BigGAN-PyTorch); and a raw weight with u and v that each forward pass advances (heykeetae). All
three become a raw weight with the u and v that give the sigma of an evaluation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sagan.errors import SaganError
from sagan.storage.torch_files import StateDict

OWN_EPS = 1e-5  # of batch norm in our networks, torch's default


@dataclass(frozen=True)
class Layer:
    """A convolution, linear layer or embedding.

    Attributes:
        weight: the raw weight if it is spectrally normalized, otherwise the weight.
        bias: (out,), or None.
        u: (rows,), of the weight as a matrix (rows, columns) as its project computes sigma; None
            without normalization.
        v: (columns,).
    """

    weight: Tensor
    bias: Tensor | None = None
    u: Tensor | None = None
    v: Tensor | None = None

    @property
    def sigma(self) -> Tensor:
        """The scalar u^T W v that an evaluation divides the weight by; 1 without normalization."""
        if self.u is not None and self.v is not None:
            return torch.dot(self.u, torch.mv(self.weight.flatten(1), self.v))
        return torch.ones(())

    def folded(self) -> "Layer":
        """Return the layer with its weight divided by sigma."""
        return Layer(self.weight / self.sigma, self.bias)

    def with_outputs_reversed(self) -> "Layer":
        """Return the convolution with its outputs in the reverse order."""
        bias, u = (t.flip(0) if t is not None else None for t in (self.bias, self.u))
        return Layer(self.weight.flip(0), bias, u, self.v)

    def with_inputs_reversed(self) -> "Layer":
        """Return the convolution that takes its inputs in the reverse order."""
        v = self.v
        if v is not None:
            v = v.unflatten(0, self.weight.shape[1:]).flip(0).flatten()
        return Layer(self.weight.flip(1), self.bias, self.u, v)


@dataclass(frozen=True)
class Norm:
    """A batch norm.

    Attributes:
        mean: the running mean (C,).
        variance: the running variance (C,).
        gain: (C,), or a table (classes, C).
        bias: as `gain`.
        eps: what is added to the variance.
    """

    mean: Tensor
    variance: Tensor
    gain: Tensor
    bias: Tensor
    eps: float

    def with_own_eps(self) -> "Norm":
        """Return the same function with our `eps`; the gain makes up for the difference."""
        correction = torch.sqrt((self.variance + OWN_EPS) / (self.variance + self.eps))
        return replace(self, gain=self.gain * correction, eps=OWN_EPS)


@dataclass(frozen=True)
class Attention:
    """The layers of self-attention in its pooled form, without biases."""

    query: Layer
    key: Layer
    value: Layer
    output: Layer
    gamma: Tensor


class Tensors:
    """The tensors of one network. It remembers which of them were taken.

    Args:
        tensors: by the names of the project that they come from.
        origin: their file, for messages.
    """

    def __init__(self, tensors: StateDict, origin: str) -> None:
        self.tensors = tensors
        self.origin = origin
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def has(self, prefix: str) -> bool:
        """Return whether any name starts like this."""
        return any(name.startswith(prefix) for name in self.tensors)

    def count(self, pattern: Callable[[int], str]) -> int:
        """Return how many names pattern(0), pattern(1) ... are prefixes of names, in a row."""
        number = 0
        while self.has(pattern(number)):
            number += 1
        return number

    def take(self, name: str, dims: int) -> Tensor:
        """Return a tensor as float32.

        Raises:
            SaganError: it is missing, has another number of dimensions, or is not of real numbers.
        """
        if name not in self.tensors:
            raise SaganError(f"'{self.origin}' has no tensor '{name}': it is of another network")
        tensor = self.tensors[name].detach()
        if tensor.dim() != dims or not tensor.is_floating_point() or not tensor.numel():
            raise SaganError(
                f"'{self.origin}': the tensor '{name}' is {tensor.dtype} {tuple(tensor.shape)}, "
                f"not floating-point numbers in {dims} dimensions"
            )
        self._taken.add(name)
        return tensor.float()

    def layer(self, name: str, dims: int = 4) -> Layer:
        """Return the convolution (4 dimensions), linear layer or embedding (2) of this name."""
        inner = f"{name}.module" if f"{name}.module.weight_bar" in self else name
        bias = self.take(f"{inner}.bias", 1) if f"{inner}.bias" in self else None
        for stored, (weight, vector) in {
            "torch": (f"{name}.weight_orig", f"{name}.weight_u"),
            "u alone": (f"{name}.weight", f"{name}.u0"),
            "advanced": (f"{inner}.weight_bar", f"{inner}.weight_u"),
        }.items():
            if weight in self and vector in self:
                raw = self.take(weight, dims)
                u = self.take(vector, 2 if stored == "u alone" else 1).flatten()
                self._check_vector(vector, u, raw.shape[0])
                if stored == "torch" and f"{name}.weight_v" in self:
                    v = self.take(f"{name}.weight_v", 1)
                    self._check_vector(f"{name}.weight_v", v, raw[0].numel())
                else:
                    u, v = _power_iteration(raw.flatten(1), u)
                    self._taken.add(f"{inner}.weight_v")
                return Layer(raw, bias, u, v)
        return Layer(self.take(f"{name}.weight", dims), bias)

    def _check_vector(self, name: str, vector: Tensor, size: int) -> None:
        if len(vector) != size:
            raise SaganError(f"'{self.origin}': '{name}' has {len(vector)} values, not {size}")

    def norm(self, name: str, eps: float) -> Norm:
        """Return the batch norm of this name, without labels."""
        gain, bias = (self.take(f"{name}.{kind}", 1) for kind in ("weight", "bias"))
        return self.norm_with(f"{name}.running_mean", f"{name}.running_var", gain, bias, eps)

    def conditional_norm(self, name: str, gain: Tensor, bias: Tensor, eps: float) -> Norm:
        """Return a batch norm with gains of 1 + `gain` and biases for each label, (K, C)."""
        mean, variance = f"{name}.running_mean", f"{name}.running_var"
        return self.norm_with(mean, variance, 1 + gain, bias, eps)

    def norm_with(self, mean: str, variance: str, gain: Tensor, bias: Tensor, eps: float) -> Norm:
        """Return the batch norm with statistics of these names, and gains and biases.

        Args:
            mean: the name of the running mean (C,).
            variance: the name of the running variance (C,).
            gain: (C,), or a table (classes, C).
            bias: as `gain`.
            eps: what it adds to the variance.

        Raises:
            SaganError: their numbers of channels differ.
        """
        norm = Norm(self.take(mean, 1), self.take(variance, 1), gain, bias, eps)
        channels = [tensor.shape[-1] for tensor in (norm.mean, norm.variance, gain, bias)]
        if len(set(channels)) > 1:
            raise SaganError(
                f"'{self.origin}': the batch norm of '{mean}' has {channels[0]} channels, but its "
                f"variance, gains and biases have {', '.join(map(str, channels[1:]))}"
            )
        return norm

    def attention(self, name: str, pattern: str) -> Attention:
        """Return the attention at `name`, with layers theta, phi, g and o as in `pattern`."""
        query, key, value, output = (
            self.layer(f"{name}.{pattern.format(kind)}") for kind in ("theta", "phi", "g", "o")
        )
        return Attention(query, key, value, output, self.gamma(f"{name}.gamma"))

    def gamma(self, name: str) -> Tensor:
        """Return an attention layer's gamma as a scalar: it may have one dimension."""
        dims = self.tensors[name].dim() if name in self else 0
        gamma = self.take(name, min(dims, 1))
        if gamma.numel() != 1:
            raise SaganError(f"'{self.origin}': '{name}' has {gamma.numel()} values, not one")
        return gamma.reshape(())

    def check_all_taken(self, network: str, ignored: tuple[str, ...]) -> None:
        """Refuse a network with tensors that ours has no place for.

        Args:
            network: "generator" or "discriminator".
            ignored: the ends of names that do not matter for evaluation.

        Raises:
            SaganError: there are such tensors.
        """
        left = [
            name
            for name in self.tensors
            if name not in self._taken and not name.endswith(("num_batches_tracked", *ignored))
        ]
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise SaganError(
                f"'{self.origin}': our {network} has no place for '{left[0]}'{more}: it is a "
                "variant that cannot be imported"
            )


def _power_iteration(matrix: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return u and v after one power iteration of a matrix (rows, columns)."""
    v = F.normalize(torch.mv(matrix.T, u), dim=0)
    return F.normalize(torch.mv(matrix, v), dim=0), v
