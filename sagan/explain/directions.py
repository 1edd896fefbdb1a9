"""Directions in which a generator's latents can be moved, found without data or training.

SeFa, "Closed-Form Factorization of Latent Semantics in GANs" (Shen and Zhou 2021, arXiv
2007.06600): what a generator does first with a latent z is A z, so a step along n changes its
features by A n, whatever z is. The directions are the unit vectors for which |A n| is largest, each
orthogonal to the ones before: eigenvectors of the transpose of A times A (the paper's equation 6).
"""

import torch
from torch import Tensor

from sagan.nn.base import GeneratorBase
from sagan.nn.dcgan import DCGANGenerator
from sagan.nn.norms import SelfModulation
from sagan.nn.resnet import Generator
from sagan.types import Float32Array


@torch.no_grad()
def latent_directions(generator: GeneratorBase, num: int) -> Float32Array:
    """Return the directions along which latents change a generator's features most.

    The rows of A are the weights of all outputs that are computed from the latent itself, each
    divided by its length, so that layers of any scale count alike:

    * residual: the first linear layer;
    * projected: the same, and the gains and biases of all norms, which the latent decides as well;
    * dcgan: the first transposed convolution.

    The directions have no names: look at what one changes. Nor does a sign mean anything; here
    each one's largest component is positive.

    Args:
        generator: of any of these families, with or without spectral normalization.
        num: how many; at most the length of a latent.

    Returns:
        float32 (num, latent_size): unit vectors, those that change most first.
    """
    weight = torch.cat(_weights(generator)).double()  # (outputs, latent_size)
    weight = weight / weight.norm(dim=1, keepdim=True).clamp_min(1e-12)
    _, vectors = torch.linalg.eigh(weight.T @ weight)  # eigenvalues in ascending order
    found = vectors.T.flip(0)[:num]
    largest = found.gather(1, found.abs().argmax(dim=1, keepdim=True))
    return (found * largest.sign()).float().numpy()


def _weights(generator: GeneratorBase) -> list[Tensor]:
    """The weights that multiply latents, (outputs, latent_size) each, on the CPU."""
    if isinstance(generator, DCGANGenerator):
        first: Tensor = generator.layers[0].weight  # type: ignore[assignment]  # (latent_size, C, 4, 4)
        return [first.flatten(1).T.cpu()]
    assert isinstance(generator, Generator)
    norms = [layer.weight for layer in generator.modules() if isinstance(layer, SelfModulation)]
    return [weight.cpu() for weight in (generator.linear.weight, *norms)]
