"""Initial weights: functions that set a weight in place, such as those of `torch.nn.init`."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from torch import Tensor, nn

from sagan.nn.spectral_norm import NORMALIZABLE

Initializer: TypeAlias = Callable[[Tensor], Tensor]  # sets a weight in place, and returns it


def initialize_layers(layers: Iterable[nn.Module], initializer: Initializer) -> None:
    """Initialize, in place, the weights of the convolutions, linear layers and embeddings.

    Their biases are set to 0. Other layers are left alone.
    """
    for layer in layers:
        if isinstance(layer, NORMALIZABLE):
            initializer(layer.weight)  # type: ignore[arg-type]
            if getattr(layer, "bias", None) is not None:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
