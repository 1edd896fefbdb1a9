"""Floating-point operations needed by a training step, in any implementation.

They are counted on the naive networks, which do each convolution of the published architecture at
its published resolution, use eager attention and recompute nothing. The step is an economical one:
no gradients through G in D's update, none of D's weights in G's update, real and fake images in one
D pass. So fused or rearranged kernels do not change the count, and it includes no wasted work.
Convolutions and matrix products count (a multiplication and an addition each); pointwise
operations and power iterations do not. 1x1 skips count at the smaller of their two
resolutions, where they cost a quarter and give the same result.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import naive
from sagan.config import Config


def step_flops(config: Config, num_classes: int) -> int:
    """Return the operations of one G update together with its D updates."""
    with torch.device("meta"):
        generator, discriminator = naive.build(config, num_classes)
        for network in (generator, discriminator):
            convolve_skips_at_the_smaller_resolution(network)
        update_d = _discriminator_flops(config, num_classes, generator, discriminator)
        update_g = _generator_flops(config, num_classes, generator, discriminator)
    return config.d_steps * update_d + update_g


def sampling_flops(config: Config, num_classes: int) -> int:
    """Return the operations of one generated image."""
    with torch.device("meta"):
        generator, _ = naive.build(config, num_classes)
        convolve_skips_at_the_smaller_resolution(generator)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            _draw(config, num_classes, generator)
    return counter.get_total_flops() // config.batch_size


def _discriminator_flops(
    config: Config, num_classes: int, generator: nn.Module, discriminator: nn.Module
) -> int:
    with FlopCounterMode(display=False) as counter:
        with torch.no_grad():
            fake, labels = _draw(config, num_classes, generator)
        images = torch.cat([fake, fake])
        logits = discriminator(images, None if labels is None else torch.cat([labels, labels]))
        real_logits, fake_logits = logits.chunk(2)
        (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()).backward()
    return counter.get_total_flops()


def _generator_flops(
    config: Config, num_classes: int, generator: nn.Module, discriminator: nn.Module
) -> int:
    with FlopCounterMode(display=False) as counter:
        images, labels = _draw(config, num_classes, generator)
        loss = -discriminator(images, labels).mean()
        loss.backward(inputs=list(generator.parameters()))
    return counter.get_total_flops()


def _draw(
    config: Config, num_classes: int, generator: nn.Module
) -> tuple[torch.Tensor, torch.Tensor | None]:
    latents = torch.empty(config.batch_size, config.latent_size)
    labels = None
    if config.conditional:
        labels = torch.zeros(config.batch_size, dtype=torch.int64)
    return generator(latents, labels), labels


def convolve_skips_at_the_smaller_resolution(network: nn.Module) -> None:
    """Make 1x1 skips convolve pooled maps, in place and with the same result.

    Pooling restores what a G block has upsampled; upsampling repeats what a D block will pool.
    """
    for block in network.modules():
        pools = isinstance(block, naive.DiscriminatorBlock) and not block.first
        pools = pools and isinstance(block.pool, nn.AvgPool2d)
        if pools or isinstance(block, naive.GeneratorBlock):
            skip: nn.Module = block.skip  # type: ignore[assignment]
            block.skip = nn.Sequential(nn.AvgPool2d(2), skip, nn.Upsample(scale_factor=2))
