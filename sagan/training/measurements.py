"""The numbers that a run records about its networks and their attention layers."""

import numpy as np
import torch
from torch import Tensor

from sagan.build import map_entries
from sagan.explain import attention_distance, attention_entropy, concentration
from sagan.nn.base import AttentionMaps, DiscriminatorBase, GeneratorBase
from sagan.nn.spectral_norm import sigmas_of
from sagan.run.stats import Record
from sagan.sampling import grid_labels
from sagan.types import ImageRows

MEASURED_IMAGES = 16  # for each network
# Entries of the attention maps in memory at a time, 256 MiB: unlike training, measuring attention
# needs whole maps.
MAX_ENTRIES = 2**26


@torch.no_grad()
def measure_networks(generator: GeneratorBase, discriminator: DiscriminatorBase) -> Record:
    """Return gamma, sigma and gradient norms, in a single transfer from the device.

    These are: gamma of each attention layer, or of the control in its place; sigma of each
    normalized layer; and the Euclidean norm of each network's latest gradients, which stay in
    memory until its next update.
    """
    values: dict[str, Tensor] = {}
    for net, module in (("generator", generator), ("discriminator", discriminator)):
        for size, layer in module.self_attention.items():
            values[f"gamma/{net}.attention_{size}"] = layer.get_parameter("gamma")
        for name, sigma in sigmas_of(module).items():
            values[f"sigma/{net}/{name}"] = sigma
        gradients = [p.grad.float() for p in module.parameters() if p.grad is not None]
        if gradients:
            values[f"gradient/{net}"] = torch.stack(torch._foreach_norm(gradients)).norm()
    if not values:
        return {}
    numbers = torch.stack([value.detach().float() for value in values.values()]).tolist()
    return dict(zip(values, numbers, strict=True))


def images_with_maps(network: GeneratorBase | DiscriminatorBase, most: int) -> int:
    """Return for how many images the attention maps fit into `MAX_ENTRIES`, at most `most`."""
    return min(most, MAX_ENTRIES // max(map_entries(network), 1))


def measure_attention(
    generator: GeneratorBase, discriminator: DiscriminatorBase, real: ImageRows
) -> Record:
    """Return how far and how sharply each layer attends, as means over images and queries.

    The generator is measured on samples from fixed latents, the discriminator on real images
    spread over the data set, the same ones at every step. Distance is in pixels, entropy in nats,
    and concentration is the share of the keys that receives half of the attention. A network is
    left out if not even one image's maps fit into `MAX_ENTRIES`.

    Args:
        generator: the average of G.
        discriminator: D.
        real: all real images, uint8 (num, H, W, C).

    Returns:
        "attention/LAYER/distance", ".../entropy" and ".../concentration" of each attention layer.
    """
    maps: AttentionMaps = {}
    if num := images_with_maps(generator, MEASURED_IMAGES):
        labels = grid_labels(num, generator.num_classes)
        maps |= generator.sample(num, labels, return_attention=True)[1]
    if num := images_with_maps(discriminator, min(MEASURED_IMAGES, len(real))):
        chosen = np.linspace(0, len(real) - 1, num).astype(int)
        maps |= discriminator.attention(real[chosen])
    record: Record = {}
    for layer, attention in maps.items():
        distance = attention_distance(attention, generator.shape[:2])
        record[f"attention/{layer}/distance"] = float(distance.mean())
        record[f"attention/{layer}/entropy"] = float(attention_entropy(attention).mean())
        record[f"attention/{layer}/concentration"] = float(concentration(attention).mean())
    return record
