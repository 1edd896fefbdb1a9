"""Adversarial losses: pure functions of logits (B,). Each is a mean over the batch.

Logits are high for real images, and should be float32: losses have their dtype. A discriminator's
loss takes the logits of real and of fake images, a generator's those of fake images. A gradient
penalty also needs the discriminator itself, and is part of the same update.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

DiscriminatorFunction: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]
Penalty: TypeAlias = Callable[
    [DiscriminatorFunction, Tensor, Tensor, Tensor | None, Tensor], Tensor
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
    uniform: Tensor,
    weight: float = 10.0,
) -> Tensor:
    """weight * E[(|dD/dx|_2 - 1)^2] at points x between real and fake: Gulrajani et al. 2017.

    The discriminator must be twice differentiable. Attention is, with every backend, except in
    compiled code; `AttentionSpec(..., backend="eager")` keeps maps that others compute again.

    Args:
        discriminator: images, labels -> logits (B,), or (B, P) for patches, of which D is the mean.
        real: (B, C, H, W) in [-1, 1].
        fake: (B, C, H, W) in [-1, 1], without gradients to a generator.
        labels: (B,), those of the real images, or None.
        uniform: (B,) in [0, 1), each pair's mixing weight, drawn at random.
        weight: factor on the penalty.
    """
    share = uniform.to(real.dtype)[:, None, None, None]
    mixed = torch.lerp(real, fake.to(real.dtype), share).requires_grad_()
    logits = discriminator(mixed, labels)
    scores = logits.reshape(len(logits), -1).mean(dim=1)
    (gradient,) = torch.autograd.grad(scores.sum(), mixed, create_graph=True)
    return weight * (gradient.flatten(1).norm(dim=1) - 1).square().mean()


@dataclass(frozen=True)
class Objective:
    """The losses of both networks under one adversarial objective.

    Attributes:
        discriminator: (real logits, fake logits) -> loss.
        generator: fake logits -> loss.
        penalty: added to the discriminator's loss in the same update; None for no penalty.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    penalty: Penalty | None = None


OBJECTIVES = {
    "hinge": Objective(hinge_discriminator, hinge_generator),
    "non-saturating": Objective(non_saturating_discriminator, non_saturating_generator),
    "wasserstein-gp": Objective(wasserstein_discriminator, wasserstein_generator, gradient_penalty),
}
