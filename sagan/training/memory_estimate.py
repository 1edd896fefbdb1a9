"""How much memory a step takes at least, computed before it is run."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from sagan.build import build_meta_networks
from sagan.config import Config
from sagan.nn.attention import SelfAttention2d
from sagan.nn.base import DiscriminatorBase, GeneratorBase

# Bytes of a trained number: itself, its gradient, Adam's two moments; in G, its average.
_TRAINED, _AVERAGED = 16, 4


def settings_for_less_memory(config: Config) -> str:
    """Return, in words, which settings to try if a training does not fit into memory."""
    in_parts = "--set accumulation=2 (or 4), which processes the batch in parts"
    if config.reuse_fakes:  # it keeps a whole batch of fakes
        in_parts = f"--set reuse_fakes=false {in_parts}"
    return f"{in_parts}, or lower batch_size, channels_g or channels_d"


def least_step_bytes(
    config: Config,
    num_classes: int,
    processes: int,
    precision: torch.dtype,
    fused: bool = False,
) -> int:
    """Return the bytes that a step takes at least in each process.

    Counted are parameters with their gradients, moments and average, and what the larger of the two
    updates keeps for its backward pass. Not counted are the memory of single operations, of
    batches, and of a gradient penalty: on a CPU in float32, measured peaks were 1.0 to 1.5 times as
    high (docs/performance.md). Nothing is allocated.

    Args:
        config: of the training.
        num_classes: of the data.
        processes: which share the batch.
        precision: of convolutions and matrix products. In 16 bits, activations count half.
        fused: whether attention keeps no maps, as on GPUs.
    """
    generator, discriminator = build_meta_networks(config, num_classes)
    if fused:  # on the meta device, torch's fused attention would keep the map
        for layer in [*generator.self_attention.values(), *discriminator.self_attention.values()]:
            if isinstance(layer, SelfAttention2d):
                layer.backend = "chunked"
    # `Shards.of` refuses a batch that has less than an image for each, in all processes at once.
    size = max(1, config.batch_size // (processes * config.accumulation))
    images = torch.empty(2 * size, *_channels_first(config), device="meta")
    kept = max(
        _kept_bytes(lambda: _judge(discriminator, images)),  # real and fake together
        _kept_bytes(lambda: _judge(discriminator, _draw(generator, size))),
    )
    if precision != torch.float32:
        kept //= 2
    trained = [p for network in (generator, discriminator) for p in network.parameters()]
    numbers = sum(p.numel() for p in trained)
    return _TRAINED * numbers + _AVERAGED * sum(p.numel() for p in generator.parameters()) + kept


def _channels_first(config: Config) -> tuple[int, int, int]:
    height, width, channels = config.shape
    return channels, height, width


def _draw(generator: GeneratorBase, num: int) -> Tensor:
    latents = torch.empty(num, generator.latent_size, device="meta")
    return generator(latents, _labels(generator, num))


def _judge(discriminator: DiscriminatorBase, images: Tensor) -> Tensor:
    return discriminator(discriminator.view(images), _labels(discriminator, len(images)))


def _labels(network: GeneratorBase | DiscriminatorBase, num: int) -> Tensor | None:
    if not network.num_classes:
        return None
    return torch.zeros(num, dtype=torch.int64, device="meta")


def _kept_bytes(forward: Callable[[], Tensor]) -> int:
    """Return the size of all that a forward pass keeps for its backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = forward()  # alive until it is counted, so that no address is used twice
    del output
    return sum(kept.values())
