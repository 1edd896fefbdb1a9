"""Folding normalization into weights for sampling does not change images."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sagan.nn.attention import SelfAttention2d
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.base import GeneratorBase
from sagan.nn.dcgan import DCGANGenerator
from sagan.nn.norms import ConditionalBatchNorm2d
from sagan.nn.resnet import Generator
from sagan.nn.spectral_norm import fold_spectral_norm

AT_16 = AttentionSpec((16,))
FAMILIES: dict[str, Callable[[], GeneratorBase]] = {
    "unconditional": lambda: Generator(32, 8, latent_size=8, attention=AT_16),
    "conditional": lambda: Generator(32, 8, latent_size=8, num_classes=3, attention=AT_16),
    "dcgan": lambda: DCGANGenerator(8, latent_size=8, attention=AttentionSpec((16,), "full")),
}


@pytest.fixture(params=FAMILIES)
def generator(request: pytest.FixtureRequest) -> GeneratorBase:
    """A network as if trained: with initial values, folding could hide mistakes."""
    network = FAMILIES[request.param]()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, SelfAttention2d):
                layer.gamma.fill_(0.5)
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
                if layer.affine:
                    layer.weight.uniform_(0.5, 1.5)
                    layer.bias.normal_()
    return network.eval()


def labels(network: GeneratorBase, num: int) -> list[int] | None:
    return [n % network.num_classes for n in range(num)] if network.num_classes else None


def folded(network: GeneratorBase) -> GeneratorBase:
    other = copy.deepcopy(network)
    fold_spectral_norm(other)
    other.fold_norms()
    return other


def test_a_folded_generator_outputs_the_same_images_to_rounding(generator: GeneratorBase) -> None:
    z = torch.randn(4, 8)
    y = None if not generator.num_classes else torch.arange(4) % generator.num_classes
    with torch.no_grad():
        torch.testing.assert_close(folded(generator)(z, y), generator(z, y), atol=2e-5, rtol=1e-4)


def test_only_norms_that_depend_on_labels_or_follow_a_sum_stay(
    generator: GeneratorBase,
) -> None:
    before, norms = (
        [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        for network in (generator, folded(generator))
    )
    assert len(before) == {DCGANGenerator: 4, Generator: 7}[type(generator)]
    # One at the start of each of three blocks and one at the end; three more depend on labels.
    expected = {DCGANGenerator: 0, Generator: 4 + 3 * bool(generator.num_classes)}
    assert len(norms) == expected[type(generator)]


def test_bfloat16_changes_pixels_by_less_than_a_level_on_average(
    generator: GeneratorBase,
) -> None:
    network = folded(generator)
    exact = network.sample(16, labels(network, 16)).astype(np.int64)
    network.precision = torch.bfloat16
    rounded = network.sample(16, labels(network, 16)).astype(np.int64)
    assert 0 < np.abs(rounded - exact).mean() < 1


def test_spectral_normalization_must_be_folded_first() -> None:
    with pytest.raises(ValueError, match="fold spectral normalization first"):
        Generator(32, 8, latent_size=8).eval().fold_norms()


def test_conditional_batch_norm_uses_running_statistics_in_evaluation_mode() -> None:
    norm = ConditionalBatchNorm2d(2, 3)
    gain, bias, mean = torch.randn(2, 3), torch.randn(2, 3), torch.randn(3)
    variance = torch.rand(3) + 0.5
    with torch.no_grad():
        norm.gain.weight.copy_(gain)
        norm.bias.weight.copy_(bias)
        norm.norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        norm.norm.running_var.copy_(variance)  # type: ignore[union-attr]
    x, y = torch.randn(4, 3, 5, 5), torch.tensor([0, 1, 1, 0])

    def per_pixel(table: Tensor) -> Tensor:
        return table[y][:, :, None, None]

    normalized = (x - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None]
    expected = per_pixel(gain) * normalized + per_pixel(bias)
    torch.testing.assert_close(norm.eval()(x, y), expected)
