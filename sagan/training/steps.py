"""The two updates of adversarial training: one of the discriminator, one of the generator.

A batch is split into shards, one per process and micro-batch. Every random number of a shard is a
function of (seed, step, update, shard), so that W processes and one process with W micro-batches
draw the same ones. G's batch norm sees a shard at a time, on several GPUs the whole batch.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sagan.images.pixels import to_float
from sagan.nn.augment import Strength, augment, mirrored
from sagan.nn.base import DiscriminatorBase, GeneratorBase
from sagan.nn.losses import Objective
from sagan.nn.precision import autocast
from sagan.nn.spectral_norm import advance_spectral_norm
from sagan.training.finite import FiniteGuard
from sagan.training.randomness import keyed_generator

# The last part of a random key: what the numbers are for.
_LATENTS, _FLIP, _AUGMENT, _PENALTY = range(4)


@dataclass(frozen=True)
class RealShard:
    """One process's micro-batch of real images, on the device.

    Attributes:
        index: the shard's number in the global batch.
        images: uint8 (B, S, S, 3).
        labels: int64 (B,), or None for an unconditional model.
    """

    index: int
    images: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class Key:
    """What all random numbers of one update are a function of, besides the shard."""

    seed: int
    step: int
    update: int  # 0, 1, ... for the discriminator's updates of a step, then the generator's

    def generator(self, device: torch.device, shard: int, purpose: int) -> torch.Generator:
        return keyed_generator(device, self.seed, self.step, self.update, shard, purpose)


@dataclass(frozen=True)
class Adversaries:
    """The two networks and what their updates need.

    Attributes:
        accelerator: knows devices and processes.
        generator: the bare network.
        discriminator: the bare network.
        parallel_generator: the same, averaging gradients over processes; for its own update only.
        parallel_discriminator: likewise.
        optimizer_g: of the generator.
        optimizer_d: of the discriminator.
        objective: the adversarial loss.
        strength: of the augmentation.
        guard_g: keeps numbers gone wrong out of the generator.
        guard_d: likewise.
        precision: what convolutions and matrix products compute in; weights stay float32.
        flip: mirror real images at random.
        label_weights: float (num_classes,), how often each label is drawn for a fake image; None
            for an unconditional model.
    """

    accelerator: Accelerator
    generator: GeneratorBase
    discriminator: DiscriminatorBase
    parallel_generator: nn.Module
    parallel_discriminator: nn.Module
    optimizer_g: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer
    objective: Objective
    strength: Strength
    guard_g: FiniteGuard
    guard_d: FiniteGuard
    precision: torch.dtype
    flip: bool
    label_weights: Tensor | None

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    def autocast(self) -> AbstractContextManager[None]:
        return autocast(self.device, self.precision)

    def mean(self, tensor: Tensor) -> Tensor:
        """The average of a tensor over the processes."""
        if self.accelerator.num_processes == 1:
            return tensor
        averaged: Tensor = self.accelerator.reduce(tensor.to(self.device), "mean")
        return averaged

    def averaging(self, parallel: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Average gradients over processes in the last micro-batch's backward pass only."""
        return nullcontext() if last else self.accelerator.no_sync(parallel)


@dataclass(frozen=True)
class DiscriminatorResult:
    """Float32 scalars on the device, where reading one waits for it.

    Attributes:
        loss: mean over all shards of all processes.
        real_logits: mean over this process's last shard.
        fake_logits: likewise.
    """

    loss: Tensor
    real_logits: Tensor
    fake_logits: Tensor


def discriminator_step(
    adversaries: Adversaries, key: Key, shards: Sequence[RealShard]
) -> DiscriminatorResult:
    """Update the discriminator once; the generator only draws, with no gradient into it."""
    discriminator = adversaries.discriminator
    advance_spectral_norm(discriminator)
    adversaries.optimizer_d.zero_grad()
    total = torch.zeros((), device=adversaries.device)
    for shard in shards:
        real = _real_images(adversaries, key, shard)
        with torch.no_grad(), adversaries.autocast():
            fake, fake_labels = _fake_images(
                adversaries, adversaries.generator, key, shard.index, len(real)
            )
        # One pass over real and fake together: DistributedDataParallel cannot take two.
        images = _augmented(adversaries, key, shard.index, torch.cat([real, fake.float()]))
        labels = None
        if shard.labels is not None and fake_labels is not None:
            labels = torch.cat([shard.labels, fake_labels])
        parallel = adversaries.parallel_discriminator
        with adversaries.averaging(parallel, last=shard is shards[-1]):
            with adversaries.autocast():
                logits = parallel(images, labels)
            real_logits, fake_logits = logits.float().chunk(2)
            loss = adversaries.objective.discriminator(real_logits, fake_logits)
            if adversaries.objective.penalty is not None:
                source = key.generator(adversaries.device, shard.index, _PENALTY)
                real, fake = images.detach().chunk(2)
                loss = loss + adversaries.objective.penalty(
                    discriminator, real, fake, shard.labels, source
                )
            (loss / len(shards)).backward()
        total += loss.detach() / len(shards)
        adversaries.strength.observe(real_logits)
    total = adversaries.mean(total)
    adversaries.guard_d.check(total, key.step + 1)
    adversaries.guard_d.step()
    return DiscriminatorResult(total, real_logits.detach().mean(), fake_logits.detach().mean())


def generator_step(
    adversaries: Adversaries, key: Key, shard_indices: Sequence[int], shard_size: int
) -> Tensor:
    """Update the generator once; returns its loss, over all shards and processes, a scalar."""
    generator = adversaries.generator
    advance_spectral_norm(generator)
    adversaries.optimizer_g.zero_grad()
    parallel = adversaries.parallel_generator
    total = torch.zeros((), device=adversaries.device)
    for index in shard_indices:
        with adversaries.averaging(parallel, last=index == shard_indices[-1]):
            with adversaries.autocast():
                images, labels = _fake_images(adversaries, parallel, key, index, shard_size)
                images = _augmented(adversaries, key, index, images.float())
                logits = adversaries.discriminator(images, labels)
            loss = adversaries.objective.generator(logits.float())
            # Only into the generator: the discriminator's weight gradients are never computed.
            (loss / len(shard_indices)).backward(inputs=list(generator.parameters()))
        total += loss.detach() / len(shard_indices)
    total = adversaries.mean(total)
    adversaries.guard_g.check(total, key.step + 1)
    adversaries.guard_g.step()
    return total


def _real_images(adversaries: Adversaries, key: Key, shard: RealShard) -> Tensor:
    """uint8 (B, S, S, 3) -> (B, 3, S, S) in [-1, 1], mirrored at random."""
    images = to_float(shard.images)
    if adversaries.flip:
        images = mirrored(images, key.generator(adversaries.device, shard.index, _FLIP))
    return images


def _fake_images(
    adversaries: Adversaries, generator: nn.Module, key: Key, shard: int, size: int
) -> tuple[Tensor, Tensor | None]:
    """Images (size, 3, S, S) in [-1, 1] from random latents, and the labels they are of."""
    source = key.generator(adversaries.device, shard, _LATENTS)
    latents = torch.randn(
        size, adversaries.generator.latent_size, device=adversaries.device, generator=source
    )
    labels = None
    if adversaries.label_weights is not None:
        labels = torch.multinomial(
            adversaries.label_weights, size, replacement=True, generator=source
        )
    return generator(latents, labels), labels


def _augmented(adversaries: Adversaries, key: Key, shard: int, images: Tensor) -> Tensor:
    generator = key.generator(adversaries.device, shard, _AUGMENT)
    return augment(images, adversaries.strength.p, generator)
