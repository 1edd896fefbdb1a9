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
import torch.nn.functional as F
from torch import Tensor

from sagan.images.pixels import to_float
from sagan.nn.augment import augment, mirrored
from sagan.nn.base import View
from sagan.nn.spectral_norm import normalized_once
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
    discriminator = adversaries.discriminator
    adversaries.optimizer_d.zero_grad()
    losses = []
    drawn = _draw_shards(adversaries, key, [shard.index for shard in shards], len(shards[0].images))
    with normalized_once(discriminator, advance=True):
        for shard, draws in zip(shards, drawn, strict=True):
            real = _real_images(adversaries, shard, draws)
            with torch.no_grad(), adversaries.autocast():
                fake = adversaries.generator(draws.latents, draws.labels)
            # One pass over real and fake together: DistributedDataParallel allows only one forward
            # pass before a backward pass.
            images = _augmented_pair(adversaries, real, fake, draws)
            labels = _joined_labels(shard, draws)
            parallel = adversaries.parallel_discriminator
            with adversaries.averaging(parallel, last=shard is shards[-1]):
                with adversaries.autocast():
                    logits, label_logits = parallel(discriminator.view(images), labels)
                logits = logits.float()
                loss = _discriminator_loss(adversaries, logits, label_logits, shard.labels)
                if adversaries.objective.penalty is not None:
                    real, fake = images.detach().chunk(2)
                    loss = loss + adversaries.objective.penalty(
                        discriminator, real, fake, shard.labels, draws.mix
                    )
                # Not `backward(1 / len(shards))`: torch would import SymPy to check the shape.
                (adversaries.spreading(loss) / len(shards)).backward()
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
    losses = []
    drawn = _draw_shards(adversaries, key, shard_indices, shard_size)
    with (
        normalized_once(generator, advance=True),
        normalized_once(discriminator, advance=False),
    ):
        for draws in drawn:
            with adversaries.averaging(parallel, last=draws is drawn[-1]):
                with adversaries.autocast():
                    images = parallel(draws.latents, draws.labels)
                    images = _augmented(adversaries, images.float(), draws.augment_fake)
                    view = discriminator.view(images)
                loss = _generator_loss(adversaries, view, draws.labels)
                # Restricted to the generator, so D's weight gradients are never computed.
                share = adversaries.spreading(loss) / len(drawn)
                share.backward(inputs=list(generator.parameters()))
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
    (draws,) = _draw_shards(adversaries, key, [shard.index], len(shard.images))
    real = _real_images(adversaries, shard, draws)
    with normalized_once(generator, advance=True), adversaries.autocast():
        fake = adversaries.parallel_generator(draws.latents, draws.labels)
    real, fake = _augmented_pair(adversaries, real, fake, draws).chunk(2)
    with adversaries.autocast():
        real_view = discriminator.view(real.detach())
        fake_view = discriminator.view(fake)

    adversaries.optimizer_d.zero_grad()
    with normalized_once(discriminator, advance=True), adversaries.autocast():
        logits, label_logits = adversaries.parallel_discriminator(
            _joined(real_view, fake_view), _joined_labels(shard, draws)
        )
    logits = logits.float()
    loss = _discriminator_loss(adversaries, logits, label_logits, shard.labels)
    adversaries.spreading(loss).backward()
    adversaries.strength.observe(logits.chunk(2)[0])
    loss_d = loss.detach()
    adversaries.guard_d.check(loss_d, key.step + 1)
    adversaries.guard_d.step()

    adversaries.optimizer_g.zero_grad()
    with normalized_once(discriminator, advance=False):
        loss = _generator_loss(adversaries, fake_view, draws.labels)
    adversaries.spreading(loss).backward(inputs=list(generator.parameters()))
    loss_g = loss.detach()
    adversaries.guard_g.check(loss_g, key.step + 1)
    adversaries.guard_g.step()
    return DiscriminatorResult(loss_d, logits.detach()), loss_g


def _generator_loss(adversaries: Adversaries, fake: View, labels: Tensor | None) -> Tensor:
    """Return the adversarial loss of a view of fakes, and the class loss, if there is one."""
    discriminator = adversaries.discriminator
    with adversaries.autocast():
        logits = discriminator(fake, labels)
        label_logits = discriminator.classify(fake)
    loss = adversaries.objective.generator(logits.float())
    if label_logits is not None and labels is not None:
        # As in AC-GAN (Odena et al. 2017), but what is classified are frozen features: D's own
        # would have to serve two losses.
        class_loss = F.cross_entropy(label_logits.float(), labels)
        loss = loss + adversaries.class_loss * class_loss
    return loss


def _discriminator_loss(
    adversaries: Adversaries, logits: Tensor, label_logits: Tensor | None, labels: Tensor | None
) -> Tensor:
    """Return the adversarial loss of real images and fakes, and the classifier's on the real ones.

    Args:
        adversaries: with the objective.
        logits: float32, D's of the real images and then of the fakes.
        label_logits: the classifier's, in the same order; None without one.
        labels: of the real images.
    """
    loss = adversaries.objective.discriminator(*logits.chunk(2))
    if label_logits is not None and labels is not None:
        loss = loss + F.cross_entropy(label_logits[: len(labels)].float(), labels)
    return loss


def _mean(losses: list[Tensor]) -> Tensor:
    return sum(losses[1:], losses[0]) / len(losses)


def _joined(real: View, fake: View) -> View:
    """Return both views as those of one batch, without gradients to the generator."""
    if isinstance(real, Tensor) and isinstance(fake, Tensor):
        return torch.cat([real, fake.detach()])
    return tuple(torch.cat([r, f.detach()]) for r, f in zip(real, fake, strict=True))


def _joined_labels(shard: RealShard, draws: Draws) -> Tensor | None:
    """Return the labels of the real images, then those of the fakes."""
    if shard.labels is None or draws.labels is None:
        return None
    return torch.cat([shard.labels, draws.labels])


def _draw_shards(
    adversaries: Adversaries, key: RandomKey, indices: Sequence[int], size: int
) -> list[Draws]:
    """Draw an update's random numbers, and return those of this process's shards."""
    num_shards = adversaries.accelerator.num_processes * len(indices)
    draws = draw(adversaries, key, num_shards * size)
    return [draws.shard(index, size) for index in indices]


def _real_images(adversaries: Adversaries, shard: RealShard, draws: Draws) -> Tensor:
    """Return uint8 (B, H, W, C) as (B, C, H, W) in [-1, 1], mirrored at random if so configured."""
    images = to_float(shard.images)
    return mirrored(images, draws.mirror) if adversaries.flip else images


def _augmented(adversaries: Adversaries, images: Tensor, uniform: Tensor) -> Tensor:
    return augment(images, adversaries.strength.p, uniform, adversaries.transformations)


def _augmented_pair(adversaries: Adversaries, real: Tensor, fake: Tensor, draws: Draws) -> Tensor:
    """Return augmented real images and fakes, (2B, C, H, W)."""
    uniform = torch.cat([draws.augment_real, draws.augment_fake])
    return _augmented(adversaries, torch.cat([real, fake.float()]), uniform)
