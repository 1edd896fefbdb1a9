"""Initial weights: functions that set a weight in place, such as those of `torch.nn.init`."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
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


@contextmanager
def named_random_state(seed: int, name: str) -> Iterator[None]:
    """Let torch's global random state be a function of seed and name within the context.

    Afterward it is what it was before.
    """
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed GPUs, too
        torch.default_generator.manual_seed(int.from_bytes(digest[:8], "little"))
        yield
