"""Directions are those of the closed form, for the weights that take latents in each family."""

import numpy as np
import pytest
import torch

from sagan.explain.directions import latent_directions
from sagan.nn.base import GeneratorBase
from sagan.nn.dcgan import DCGANGenerator
from sagan.nn.norms import SelfModulation
from sagan.nn.projected import ProjectedGenerator
from sagan.nn.resnet import Generator
from sagan.nn.spectral_norm import fold_spectral_norm

GENERATORS = {
    "residual": lambda: Generator(32, width=8, latent_size=12, num_classes=3),
    "projected": lambda: ProjectedGenerator(32, width=8, latent_size=12),
    "dcgan": lambda: DCGANGenerator(width=8, latent_size=12, attention=None),
}


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> GeneratorBase:
    torch.manual_seed(0)
    return GENERATORS[request.param]()


def first_outputs(generator: GeneratorBase, latents: torch.Tensor) -> torch.Tensor:
    """All numbers that are computed from the latents themselves, (B, outputs), by running it."""
    found: list[torch.Tensor] = []
    first = generator.layers[0] if isinstance(generator, DCGANGenerator) else generator.linear
    layers = [first, *(m for m in generator.modules() if isinstance(m, SelfModulation))]

    def record(module: torch.nn.Module, inputs: object, output: object) -> None:
        parts = output if isinstance(output, tuple) else (output,)
        found.extend(part.flatten(1) for part in parts)

    hooks = [layer.register_forward_hook(record) for layer in layers]
    labels = torch.zeros(len(latents), dtype=torch.int64) if generator.num_classes else None
    with torch.no_grad():
        generator.eval()(latents, labels)
    for hook in hooks:
        hook.remove()
    return torch.cat(found, dim=1)


def change(generator: GeneratorBase, directions: torch.Tensor) -> torch.Tensor:
    """How much a step along each direction changes these outputs, each relative to its weights."""
    size = generator.latent_size
    matrix = first_outputs(generator, torch.eye(size)) - first_outputs(
        generator, torch.zeros(1, size)
    )
    matrix = matrix / matrix.norm(dim=0)  # (latent_size, outputs)
    return (directions @ matrix).norm(dim=1)


def test_they_are_orthogonal_unit_vectors(generator: GeneratorBase) -> None:
    found = latent_directions(generator, 5)
    assert found.shape == (5, 12)
    assert found.dtype == np.float32
    assert np.allclose(found @ found.T, np.eye(5), atol=1e-5)


def test_no_other_direction_changes_the_first_outputs_more(generator: GeneratorBase) -> None:
    found = torch.from_numpy(latent_directions(generator, 12))
    changes = change(generator, found)
    assert (changes[:-1] >= changes[1:] - 1e-5).all()
    others = torch.nn.functional.normalize(torch.randn(500, 12), dim=1)
    assert change(generator, others).max() <= changes[0] + 1e-5
    assert change(generator, others).min() >= changes[-1] - 1e-5


def test_spectral_normalization_does_not_matter(generator: GeneratorBase) -> None:
    before = latent_directions(generator, 3)
    fold_spectral_norm(generator)
    assert np.allclose(latent_directions(generator, 3), before, atol=1e-4)


def test_weights_of_norms_count_where_latents_decide_them() -> None:
    torch.manual_seed(0)
    generator = ProjectedGenerator(32, width=8, latent_size=12)
    with torch.no_grad():
        for layer in generator.modules():
            if isinstance(layer, SelfModulation):
                layer.weight.zero_()
                layer.weight[:, 7] = -3
    fold_spectral_norm(generator)
    with torch.no_grad():
        generator.linear.weight.zero_()
    assert np.allclose(latent_directions(generator, 1), np.eye(12)[7:8], atol=1e-5)
