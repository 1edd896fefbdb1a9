"""The exponential moving average of the generator's weights."""

import copy

import torch
from torch import Tensor

from sagan.nn.base import GeneratorBase

RAMP_UP = 0.05  # the half-life is at most this share of the images seen so far


class GeneratorAverage:
    """An average of a generator's raw weights and batch-norm statistics (Karras et al. 2018).

    The vectors u and v of spectral normalization are copied, since an average of unit vectors is
    not a unit vector. sigma is then u^T W v of the averaged weights W, a lower bound: in trained
    models 0.1 to 1.4% below their largest singular value.

    Args:
        generator: the network to follow, on its device; the average starts as a copy.
        half_life: in images; with 0 the average is a copy of the latest weights.

    Attributes:
        generator: the averaged network, in evaluation mode.
    """

    def __init__(self, generator: GeneratorBase, half_life: float) -> None:
        self.generator = copy.deepcopy(generator).eval().requires_grad_(False)
        self.half_life = half_life
        own, followed = self.generator.state_dict(), generator.state_dict()
        vectors = [name for name in own if name.endswith((".u", ".v"))]
        counters = [name for name in own if not own[name].is_floating_point()]
        averaged = [name for name in own if name not in {*vectors, *counters}]
        # Updates change these tensors in place, so no step has to look them up by name again.
        self._averaged = [own[name] for name in averaged]
        self._target = [followed[name] for name in averaged]
        self._copied = [
            ([own[name] for name in names], [followed[name] for name in names])
            for names in (
                vectors,
                counters,
            )  # one dtype each: copied in one call
            if names
        ]

    @torch.no_grad()
    def update(self, images_per_step: int, step: int, dropped: Tensor | None = None) -> None:
        """Move toward the generator's weights after its update.

        Args:
            images_per_step: the global batch size.
            step: the number of the update, from 1.
            dropped: whether the update was not made, a bool scalar on the device: then the average
                stays as it is; None for no.
        """
        half_life = min(self.half_life, RAMP_UP * images_per_step * step)
        decay = 0.5 ** (images_per_step / half_life) if half_life > 0 else 0.0
        torch._foreach_lerp_(
            self._averaged, _unless(dropped, self._target, self._averaged), 1 - decay
        )
        for own, followed in self._copied:
            torch._foreach_copy_(own, _unless(dropped, followed, own))


def _unless(dropped: Tensor | None, new: list[Tensor], old: list[Tensor]) -> list[Tensor]:
    """Return the new tensors, all finite, or the old ones if `dropped`, without reading it."""
    if dropped is None:
        return new
    # Exact, since one of the factors is 0 and the other one 1.
    chosen = torch._foreach_mul(new, (~dropped).to(new[0].dtype))
    return list(torch._foreach_add(chosen, torch._foreach_mul(old, dropped.to(new[0].dtype))))
