"""The average of the generator's weights follows its recursion, computed in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sagan.config import Config
from sagan.data import PackedDataset
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.resnet import Generator
from sagan.nn.spectral_norm import advance_spectral_norm, fold_spectral_norm, sigmas_of
from sagan.training.ema import GeneratorAverage


@pytest.fixture
def generator() -> Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Generator(32, 8, latent_size=8, num_classes=2, attention=AttentionSpec((16,)))


def is_averaged(name: str) -> bool:
    return not name.endswith((".u", ".v", "num_batches_tracked"))


def test_weights_biases_and_running_statistics_are_averaged_and_nothing_else(
    generator: Generator,
) -> None:
    """The tests below divide tensors into two kinds by name."""
    averaged = {name for name in generator.state_dict() if is_averaged(name)}
    statistics = {n for n in averaged if n.endswith(("running_mean", "running_var"))}
    assert len(statistics) == 2 * 7  # two norms in each of three blocks, one at the end
    assert averaged - statistics == {name for name, _ in generator.named_parameters()}
    others = set(generator.state_dict()) - averaged
    assert {name.rpartition(".")[2] for name in others} == {"u", "v", "num_batches_tracked"}


def disturb(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Change every tensor, as an update would, and return a copy in float64."""
    rng = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.add_(1)
        elif is_averaged(name):
            tensor.add_(torch.randn(tensor.shape, generator=rng))
    advance_spectral_norm(network)
    return copied(network)


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.double().clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("half_life", [10.0, 1000.0])
def test_the_average_follows_the_recursion_with_its_ramp_up(
    generator: Generator, half_life: float
) -> None:
    """a <- d a + (1 - d) w, d = 2^(-B / h), h = min(half-life, B t / 20) at step t."""
    average = GeneratorAverage(generator, half_life)
    expected = copied(generator)
    for step in range(1, 41):
        current = disturb(generator, seed=step)
        average.update(16, step)
        decay = 2 ** (-16 / min(half_life, 16 * step / 20))
        for name, tensor in current.items():
            if is_averaged(name):
                expected[name] = decay * expected[name] + (1 - decay) * tensor
            else:
                expected[name] = tensor
    actual = average.generator.state_dict()
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name].double(), tensor, rtol=1e-5, atol=1e-5, msg=name)


def test_batch_norm_statistics_are_averaged_too(generator: Generator) -> None:
    average = GeneratorAverage(generator, half_life=4.0)
    before = copied(average.generator)
    target = disturb(generator, seed=1)
    average.update(images_per_step=4, step=1000)  # past the ramp-up: one half-life
    for name in ("norm.running_mean", "norm.running_var", "blocks.0.norm1.norm.running_mean"):
        middle = (before[name] + target[name]) / 2
        torch.testing.assert_close(average.generator.state_dict()[name].double(), middle)
        assert not torch.equal(before[name], target[name])


def test_u_and_v_are_copied_and_stay_unit_vectors(generator: Generator) -> None:
    average = GeneratorAverage(generator, half_life=100.0)
    for step in range(1, 4):
        disturb(generator, seed=step)
        average.update(8, step)
    vectors = [name for name in generator.state_dict() if name.endswith((".u", ".v"))]
    assert len(vectors) == 2 * len(sigmas_of(generator))
    for name in vectors:
        assert torch.equal(average.generator.state_dict()[name], generator.state_dict()[name])
        assert float(average.generator.state_dict()[name].norm()) == pytest.approx(1, abs=1e-5)


def test_sigma_of_the_average_comes_from_its_own_weights_and_the_latest_vectors(
    generator: Generator,
) -> None:
    average = GeneratorAverage(generator, half_life=40.0)
    for step in range(1, 6):
        disturb(generator, seed=step)
        average.update(8, step)
    raw = copied(average.generator)
    fold_spectral_norm(average.generator)
    folded = average.generator.state_dict()
    names = [name.removesuffix(".0.u") for name in raw if name.endswith(".0.u")]
    assert names
    for name in names:
        weight, u, v = raw[f"{name}.original"], raw[f"{name}.0.u"], raw[f"{name}.0.v"]
        matrix = torch.stack([  # columns in the order height, width, input
            row.permute(1, 2, 0).reshape(-1) if row.dim() == 3 else row for row in weight
        ])  # fmt: skip
        plain = name.replace("parametrizations.", "")
        expected = weight / (u @ matrix @ v)
        torch.testing.assert_close(folded[plain].double(), expected, rtol=1e-4, atol=1e-5)


def test_a_half_life_of_zero_makes_a_copy(generator: Generator) -> None:
    average = GeneratorAverage(generator, half_life=0.0)
    for step in range(1, 3):
        disturb(generator, seed=step)
        average.update(8, step)
        for name, tensor in generator.state_dict().items():
            assert torch.equal(average.generator.state_dict()[name], tensor), name


def test_the_average_shares_no_memory_with_the_generator_and_needs_no_gradient(
    generator: Generator,
) -> None:
    average = GeneratorAverage(generator, half_life=10.0)
    followed = {tensor.data_ptr() for tensor in generator.state_dict().values()}
    assert followed.isdisjoint(t.data_ptr() for t in average.generator.state_dict().values())
    assert not any(parameter.requires_grad for parameter in average.generator.parameters())
    assert all(parameter.requires_grad for parameter in generator.parameters())
    assert not average.generator.training
    assert generator.training


def test_updating_the_average_does_not_change_the_generator(generator: Generator) -> None:
    average = GeneratorAverage(generator, half_life=10.0)
    before = disturb(generator, seed=1)
    average.update(8, 1)
    after = copied(generator)
    assert all(torch.equal(before[name], after[name]) for name in before)


def assert_between(
    average: nn.Module, before: dict[str, Tensor], target: dict[str, Tensor], decay: float
) -> None:
    """Every averaged tensor is `decay` of what it was plus the rest of its target."""
    actual = {name: tensor for name, tensor in average.state_dict().items() if is_averaged(name)}
    assert any(not torch.equal(before[name], target[name]) for name in actual)
    for name, tensor in actual.items():
        expected = decay * before[name] + (1 - decay) * target[name]
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6, msg=name)


def test_a_training_step_moves_the_average_by_the_batch_size(
    unlabeled: PackedDataset,
    start_training: Callable[..., Any],
    tiny_config: Callable[..., Config],
) -> None:
    assert tiny_config().batch_size == 8
    training = start_training(unlabeled, ema_half_life=1e9, d_steps=2, accumulation=2)
    before = copied(training.average.generator)
    training.advance()
    target = copied(training.adversaries.generator)
    decay = 2**-20  # the ramp-up at step 1: h = B / 20, whatever B
    assert_between(training.average.generator, before, target, decay)
    before = copied(training.average.generator)
    training.advance()
    target = copied(training.adversaries.generator)
    assert_between(training.average.generator, before, target, 2**-10)
