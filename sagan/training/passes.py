"""The forward passes of a step: functions of tensors, up to a loss, that torch can compile.

Whatever changes from step to step comes in as a tensor, and nothing is read: a compiled pass serves
all steps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sagan.images.pixels import to_float
from sagan.nn.augment import augment, mirrored
from sagan.nn.base import View
from sagan.training.adversaries import Adversaries
from sagan.training.draws import Draws
from sagan.training.shards import RealShard


def draw_fakes(adversaries: Adversaries, draws: Draws) -> Tensor:
    """Return fakes (B, C, H, W) for D's own update, for which G needs no gradient."""
    with torch.no_grad(), adversaries.autocast():
        return adversaries.generator(draws.latents, draws.labels).float()


def judge(
    adversaries: Adversaries, shard: RealShard, fake: Tensor, draws: Draws, p: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Judge real images and fakes.

    Args:
        adversaries: the networks.
        shard: the real images.
        fake: as many fakes.
        draws: the random numbers of the shard.
        p: how often to augment, a scalar; None for never.

    Returns:
        D's loss, its logits of the real images and then of the fakes, float32, and these images
        as it saw them.
    """
    # One pass over real and fake together: DistributedDataParallel allows only one forward pass
    # before a backward pass.
    images = _augmented_pair(adversaries, _real_images(adversaries, shard, draws), fake, draws, p)
    with adversaries.autocast():
        view = adversaries.discriminator.view(images)
    return *_judged(adversaries, view, shard, draws), images


def judge_views(
    adversaries: Adversaries, real: View, fake: View, shard: RealShard, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Return D's loss and logits as `judge`, from views of the images, without gradients to G."""
    return _judged(adversaries, _joined(real, fake), shard, draws)


def deceive(adversaries: Adversaries, draws: Draws, p: Tensor | None) -> Tensor:
    """Draw fakes and return G's loss on them; the arguments are those of `judge`."""
    with adversaries.autocast():
        images = adversaries.parallel_generator(draws.latents, draws.labels).float()
        view = adversaries.discriminator.view(
            _augmented(adversaries, images, draws.augment_fake, p)
        )
    return deceive_by_view(adversaries, view, draws)


def deceive_by_view(adversaries: Adversaries, fake: View, draws: Draws) -> Tensor:
    """Return the adversarial loss of a view of fakes, and the class loss, if there is one."""
    discriminator, labels = adversaries.discriminator, draws.labels
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


def draw_views(
    adversaries: Adversaries, shard: RealShard, draws: Draws, p: Tensor | None
) -> tuple[View, View]:
    """Return views for both updates: of the real images, and of fakes with gradients to G.

    The arguments are those of `judge`.
    """
    real = _real_images(adversaries, shard, draws)
    with adversaries.autocast():
        fake = adversaries.parallel_generator(draws.latents, draws.labels).float()
    real = _augmented(adversaries, real, draws.augment_real, p)
    fake = _augmented(adversaries, fake, draws.augment_fake, p)
    with adversaries.autocast():
        return adversaries.discriminator.view(real), adversaries.discriminator.view(fake)


def _judged(
    adversaries: Adversaries, view: View, shard: RealShard, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Return D's loss and logits of a view of real images and then fakes.

    The classifier, if there is one, is judged on the real images.
    """
    labels = None
    if shard.labels is not None and draws.labels is not None:
        labels = torch.cat([shard.labels, draws.labels])
    with adversaries.autocast():
        logits, label_logits = adversaries.parallel_discriminator(view, labels)
    logits = logits.float()
    loss = adversaries.objective.discriminator(*logits.chunk(2))
    if label_logits is not None and shard.labels is not None:
        own = label_logits[: len(shard.labels)].float()
        loss = loss + F.cross_entropy(own, shard.labels)
    return loss, logits


def _joined(real: View, fake: View) -> View:
    """Return both views as those of one batch, without gradients to the generator."""
    if isinstance(real, Tensor) and isinstance(fake, Tensor):
        return torch.cat([real, fake.detach()])
    return tuple(torch.cat([r, f.detach()]) for r, f in zip(real, fake, strict=True))


def _real_images(adversaries: Adversaries, shard: RealShard, draws: Draws) -> Tensor:
    """Return uint8 (B, H, W, C) as (B, C, H, W) in [-1, 1], mirrored at random if so configured."""
    images = to_float(shard.images)
    return mirrored(images, draws.mirror) if adversaries.flip else images


def _augmented(
    adversaries: Adversaries, images: Tensor, uniform: Tensor, p: Tensor | None
) -> Tensor:
    if p is None:
        return images
    return augment(images, p, uniform, adversaries.transformations)


def _augmented_pair(
    adversaries: Adversaries, real: Tensor, fake: Tensor, draws: Draws, p: Tensor | None
) -> Tensor:
    """Return augmented real images and fakes, (2B, C, H, W)."""
    images = torch.cat([real, fake])
    if p is None:
        return images
    uniform = torch.cat([draws.augment_real, draws.augment_fake])
    return _augmented(adversaries, images, uniform, p)
