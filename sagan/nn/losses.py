"""Adversarial losses: pure functions of logits (B,), each a mean over the batch in their dtype.

Logits are high for real; give them in float32. A discriminator's loss takes the logits of real and
of fake images, a generator's those of fakes. A gradient penalty also needs the discriminator
itself, and is part of the same update.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

DiscriminatorFunction: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]
Penalty: TypeAlias = Callable[
    [DiscriminatorFunction, Tensor, Tensor, Tensor | None, torch.Generator], Tensor
]


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(real))] + E[max(0, 1 + D(fake))]: Zhang et al. 2018, equation 4."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-E[D(fake)]: Zhang et al. 2018, equation 4."""
    return -fake.mean()


def non_saturating_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log s(D(real))] - E[log(1 - s(D(fake)))], s the sigmoid: Goodfellow et al. 2014."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def non_saturating_generator(fake: Tensor) -> Tensor:
    """-E[log s(D(fake))]: Goodfellow et al. 2014, section 3."""
    return F.softplus(-fake).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E[D(fake)] - E[D(real)]: Arjovsky et al. 2017."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """-E[D(fake)]: Arjovsky et al. 2017."""
    return -fake.mean()


def gradient_penalty(
    discriminator: DiscriminatorFunction,
    real: Tensor,
    fake: Tensor,
    labels: Tensor | None,
    rng: torch.Generator,
    weight: float = 10.0,
) -> Tensor:
    """weight * E[(|dD/dx|_2 - 1)^2] at points x between real and fake: Gulrajani et al. 2017.

    The discriminator must be twice differentiable: fused attention is not, so networks that are
    trained with this penalty are built with `attention_backend="eager"`.

    Args:
        discriminator: images, labels -> logits (B,).
        real: (B, 3, S, S) in [-1, 1].
        fake: (B, 3, S, S) in [-1, 1], without gradients to a generator.
        labels: (B,) of the real images, or None.
        rng: draws each pair's mixing weight; on the images' device.
    """
    shape = (len(real), 1, 1, 1)
    share = torch.rand(shape, dtype=real.dtype, device=real.device, generator=rng)
    mixed = torch.lerp(real, fake.to(real.dtype), share).requires_grad_()
    logits = discriminator(mixed, labels)
    (gradient,) = torch.autograd.grad(logits.sum(), mixed, create_graph=True)
    return weight * (gradient.flatten(1).norm(dim=1) - 1).square().mean()


@dataclass(frozen=True)
class Objective:
    """What one adversarial loss asks of both networks.

    Attributes:
        discriminator: (real logits, fake logits) -> loss.
        generator: fake logits -> loss.
        penalty: added to the discriminator's loss in the same update, if there is one.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    penalty: Penalty | None = None


OBJECTIVES = {
    "hinge": Objective(hinge_discriminator, hinge_generator),
    "non-saturating": Objective(non_saturating_discriminator, non_saturating_generator),
    "wasserstein-gp": Objective(wasserstein_discriminator, wasserstein_generator, gradient_penalty),
}
