"""The two updates of adversarial training, one of the discriminator and one of the generator.

They are done one after the other, each with its own fakes, or as one step from the same fakes.

A batch is divided into shards, one per process and micro-batch. All random numbers of a batch are a
function of (seed, step, update), and a shard takes its rows of them, so W processes compute with
the same ones as one. G's batch norm sees one shard at a time or, if it is shared, those of all
processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sagan.nn.spectral_norm import normalized_once
from sagan.training import passes
from sagan.training.adversaries import Adversaries
from sagan.training.draws import Draws, RandomKey, draw
from sagan.training.shards import RealShard


@dataclass(frozen=True)
class DiscriminatorResult:
    """Results of a discriminator update, float32 on the device; reading one waits for it.

    Attributes:
        loss: a scalar, the mean over this process's shards, with the class loss, if there is one.
        logits: those of this process's last shard, first of the real images, then of as many fakes.
    """

    loss: Tensor
    logits: Tensor

    def mean_logits(self) -> Tensor:
        """Return the means over the real images and over the fakes, (2,)."""
        return self.logits.reshape(2, -1).mean(dim=1)


def discriminator_step(
    adversaries: Adversaries, key: RandomKey, shards: Sequence[RealShard]
) -> DiscriminatorResult:
    """Update the discriminator once; the generator only draws fakes and gets no gradient.

    Args:
        adversaries: the networks; the discriminator changes.
        key: of this update.
        shards: this process's real images.
    """
    discriminator, run = adversaries.discriminator, adversaries.run
    adversaries.optimizer_d.zero_grad()
    losses, p = [], _strength(adversaries)
    drawn = _draw_shards(adversaries, key, [shard.index for shard in shards], len(shards[0].images))
    with normalized_once(discriminator, advance=True):
        for shard, draws in zip(shards, drawn, strict=True):
            adversaries.begin_passes()
            fake = run(passes.draw_fakes, draws)
            parallel = adversaries.parallel_discriminator
            with adversaries.averaging(parallel, last=shard is shards[-1]):
                loss, logits, images = run(passes.judge, shard, fake, draws, p)
                if adversaries.objective.penalty is not None:
                    real, fake = images.detach().chunk(2)
                    loss = loss + adversaries.objective.penalty(
                        discriminator, real, fake, shard.labels, draws.mix
                    )
                # Not `backward(1 / len(shards))`: torch would import SymPy to check the shape.
                share = adversaries.spreading(loss) / len(shards)
                adversaries.guard_d.scaled(share).backward()
            losses.append(loss.detach())
            adversaries.strength.observe(logits.chunk(2)[0])
    total = _mean(losses)
    adversaries.guard_d.check(total, key.step + 1)
    adversaries.guard_d.step()
    return DiscriminatorResult(total, logits.detach())


def generator_step(
    adversaries: Adversaries, key: RandomKey, shard_indices: Sequence[int], shard_size: int
) -> Tensor:
    """Update the generator once.

    Args:
        adversaries: the networks; the generator changes.
        key: of this update.
        shard_indices: this process's shards.
        shard_size: images to draw per shard.

    Returns:
        The loss, a scalar: the mean over this process's shards.
    """
    generator, discriminator = adversaries.generator, adversaries.discriminator
    adversaries.optimizer_g.zero_grad()
    parallel = adversaries.parallel_generator
    losses, p = [], _strength(adversaries)
    drawn = _draw_shards(adversaries, key, shard_indices, shard_size)
    with (
        normalized_once(generator, advance=True),
        normalized_once(discriminator, advance=False),
    ):
        for draws in drawn:
            adversaries.begin_passes()
            with adversaries.averaging(parallel, last=draws is drawn[-1]):
                loss = adversaries.run(passes.deceive, draws, p)
                # Restricted to the generator, so D's weight gradients are not computed.
                share = adversaries.spreading(loss) / len(drawn)
                adversaries.guard_g.scaled(share).backward(inputs=list(generator.parameters()))
            losses.append(loss.detach())
    total = _mean(losses)
    adversaries.guard_g.check(total, key.step + 1)
    adversaries.guard_g.step()
    return total


def joint_step(
    adversaries: Adversaries, key: RandomKey, shard: RealShard
) -> tuple[DiscriminatorResult, Tensor]:
    """Update the discriminator, then the generator, with the same fakes.

    G draws them once instead of twice, and the frozen layers of D, if it has any, see them once.

    Args:
        adversaries: the networks; both change.
        key: of these updates.
        shard: this process's real images, in one shard: all of its fakes are kept in memory.

    Returns:
        The discriminator's result, and the generator's loss, as of the single updates.
    """
    generator, discriminator = adversaries.generator, adversaries.discriminator
    run = adversaries.run
    (draws,) = _draw_shards(adversaries, key, [shard.index], len(shard.images))
    adversaries.begin_passes()
    with normalized_once(generator, advance=True):
        real, fake = run(passes.draw_views, shard, draws, _strength(adversaries))

    adversaries.optimizer_d.zero_grad()
    with normalized_once(discriminator, advance=True):
        loss, logits = run(passes.judge_views, real, fake, shard, draws)
    adversaries.guard_d.scaled(adversaries.spreading(loss)).backward()
    adversaries.strength.observe(logits.chunk(2)[0])
    loss_d = loss.detach()
    adversaries.guard_d.check(loss_d, key.step + 1)
    adversaries.guard_d.step()

    adversaries.optimizer_g.zero_grad()
    with normalized_once(discriminator, advance=False):
        loss = run(passes.deceive_by_view, fake, draws)
    share = adversaries.guard_g.scaled(adversaries.spreading(loss))
    share.backward(inputs=list(generator.parameters()))
    loss_g = loss.detach()
    adversaries.guard_g.check(loss_g, key.step + 1)
    adversaries.guard_g.step()
    return DiscriminatorResult(loss_d, logits.detach()), loss_g


def _mean(losses: list[Tensor]) -> Tensor:
    return sum(losses[1:], losses[0]) / len(losses)


def _strength(adversaries: Adversaries) -> Tensor | None:
    """Return how often to augment, a scalar on the device; None for never."""
    p = adversaries.strength.p
    return torch.full((), p, device=adversaries.device) if p > 0 else None


def _draw_shards(
    adversaries: Adversaries, key: RandomKey, indices: Sequence[int], size: int
) -> list[Draws]:
    """Draw an update's random numbers, and return those of this process's shards."""
    num_shards = adversaries.accelerator.num_processes * len(indices)
    draws = draw(adversaries, key, num_shards * size)
    return [draws.shard(index, size) for index in indices]
