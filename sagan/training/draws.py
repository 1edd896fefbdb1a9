"""The random numbers of an update, drawn before it and for the whole batch.

They do not depend on how the batch is divided: each process draws all of them, and each shard takes
its own rows. A step therefore computes with tensors only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sagan.nn.augment import NUMBERS
from sagan.training.adversaries import Adversaries


@dataclass(frozen=True)
class RandomKey:
    """An update, which determines its random numbers.

    Attributes:
        seed: the configuration's seed.
        step: steps before this one.
        update: 0, 1, ... for the discriminator's updates of a step, then the generator's.
    """

    seed: int
    step: int
    update: int


@dataclass(frozen=True)
class Draws:
    """Random numbers for B images, and for as many fakes.

    Attributes:
        latents: (B, L), standard normal.
        labels: int64 (B,), of the fakes, as often as the data has them; None for an unconditional
            model.
        mirror: uniform (B,) in [0, 1), like the following ones: which real images to mirror.
        mix: (B,), where between a real image and a fake a gradient penalty is measured.
        augment_real: (B, T, `NUMBERS`), for T transformations.
        augment_fake: likewise.
    """

    latents: Tensor
    labels: Tensor | None
    mirror: Tensor
    mix: Tensor
    augment_real: Tensor
    augment_fake: Tensor

    def shard(self, index: int, size: int) -> "Draws":
        """Return the rows of one of the shards."""
        rows = slice(index * size, (index + 1) * size)
        return Draws(
            self.latents[rows],
            self.labels[rows] if self.labels is not None else None,
            self.mirror[rows],
            self.mix[rows],
            self.augment_real[rows],
            self.augment_fake[rows],
        )


def draw(adversaries: Adversaries, key: RandomKey, num: int) -> Draws:
    """Draw the random numbers of an update.

    Args:
        adversaries: what they are for.
        key: of the update.
        num: B, the images of the whole batch.
    """
    device, rng = adversaries.device, adversaries.rng.at(key.seed, key.step, key.update)
    latents = torch.randn(num, adversaries.generator.latent_size, device=device, generator=rng)
    labels = None
    if adversaries.label_weights is not None:
        labels = torch.multinomial(adversaries.label_weights, num, replacement=True, generator=rng)
    transformations = len(adversaries.transformations)
    uniform = torch.rand(num, 2 + 2 * transformations * NUMBERS, device=device, generator=rng)
    augment = uniform[:, 2:].view(num, 2, transformations, NUMBERS)
    return Draws(latents, labels, uniform[:, 0], uniform[:, 1], augment[:, 0], augment[:, 1])
