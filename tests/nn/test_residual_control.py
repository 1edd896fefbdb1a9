"""The paper's control has attention's parameters and start, but not its long range."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sagan.build import build_networks
from sagan.config import Config, parse_config, resolve
from sagan.nn.attention import FORMS, SelfAttention2d
from sagan.nn.attention_blocks import AttentionSpec, attention_block
from sagan.nn.residual_control import ResidualControl2d


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [32, 64, 128, 256, 512])
def test_the_control_has_as_many_parameters_as_the_attention_it_replaces(channels, form) -> None:
    with torch.device("meta"):
        attention = SelfAttention2d(channels, form, spectral_norm=False)
        control = attention_block(AttentionSpec((), form, block="residual"), channels, 16)
    assert isinstance(control, ResidualControl2d)
    # It can be off by half the parameters of one more channel in the bottleneck.
    width = control.reduce.out_channels
    assert abs(count(control) - count(attention)) <= channels + 9 * (2 * width + 1) / 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [8, 16, 32])
def test_another_control_takes_as_many_multiplications(size, form) -> None:
    with torch.device("meta"):
        spec = AttentionSpec((), form, block="residual-macs")
        control = attention_block(spec, 64, size)
        attention = SelfAttention2d(64, form, backend="eager")
        nn.init.constant_(attention.gamma, 0.5)
        counts = []
        for layer in (attention, control):
            with FlopCounterMode(display=False) as counter:
                layer(torch.randn(1, 64, size, size))
            counts.append(counter.get_total_flops())
    of_attention, of_control = counts
    assert isinstance(control, ResidualControl2d)
    width = control.reduce.out_channels
    step = 2 * size**2 * (2 * 64 + 9 * (2 * width + 1))  # one more channel in the bottleneck
    assert abs(of_control - of_attention) <= step / 2 or width == 64


@pytest.mark.parametrize("form", FORMS)
def test_no_other_width_comes_nearer(form) -> None:
    with torch.device("meta"):
        target = count(SelfAttention2d(64, form, spectral_norm=False))
        control = ResidualControl2d(64, target)
    others = [2 * 64 * h + 9 * h * h + 1 for h in range(1, 65)]
    assert abs(count(control) - target) == min(abs(other - target) for other in others)


def test_the_control_starts_as_the_identity_and_then_sees_only_its_neighborhood() -> None:
    control = ResidualControl2d(16, 320)
    x = torch.randn(1, 16, 9, 9, requires_grad=True)
    assert torch.equal(control(x), x)
    nn.init.constant_(control.gamma, 0.5)
    y: Tensor = control(x)
    assert not torch.equal(y, x)
    (seen,) = torch.autograd.grad(y[0, :, 4, 4].sum(), x)
    far = torch.ones(9, 9, dtype=torch.bool)
    far[3:6, 3:6] = False
    assert seen[0][:, ~far].abs().amin(dim=0).sum() > 0
    assert (seen[0][:, far] == 0).all()


@pytest.mark.parametrize("preset", ["classic-32", "classic-64", "dcgan-64"])
def test_the_control_takes_the_place_of_attention_in_a_configuration(preset: str) -> None:
    def sizes(config: Config) -> list[list[tuple[str, type]]]:
        return [
            [(size, type(layer)) for size, layer in network.self_attention.items()]
            for network in build_networks(config, num_classes=0)
        ]

    attention = sizes(resolve(preset, {"conditional": False}))
    control = sizes(resolve(preset, {"conditional": False, "attention_block": "residual"}))
    for with_attention, with_control in zip(attention, control, strict=True):
        assert with_attention
        assert [size for size, _ in with_attention] == [size for size, _ in with_control]
        assert {kind for _, kind in with_control} == {ResidualControl2d}


def test_configurations_older_than_the_control_have_attention() -> None:
    old = resolve("classic-32").model_dump(mode="json")
    del old["attention_block"]
    assert parse_config(old) == resolve("classic-32")
