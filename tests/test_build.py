"""Every field of a configuration that concerns the networks reaches them, in both families."""

from typing import Any

import pytest
import torch

from sagan.build import build_networks, count_parameters
from sagan.config import Config, resolve
from sagan.nn.spectral_norm import SpectralNorm, sigmas_of

FAMILIES: dict[str, dict[str, Any]] = {
    "residual": {},
    "dcgan": {"family": "dcgan", "resolution": 64},
}


def small(family: str, **settings: Any) -> Config:
    sizes = {"channels_g": 8, "channels_d": 16, "attention_g": (8, 16), "attention_d": (16,)}
    return resolve("smoke", FAMILIES[family] | sizes | settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_and_form_of_attention_are_those_of_the_configuration(family: str) -> None:
    g, d = build_networks(small(family, attention_form="paper"), 0)
    assert g.family == d.family == family
    assert list(g.attention_layers()) == ["generator.attention_8", "generator.attention_16"]
    assert list(d.attention_layers()) == ["discriminator.attention_16"]
    layers = [*g.attention_layers().values(), *d.attention_layers().values()]
    assert {layer.form for layer in layers} == {"paper"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gradient_penalty_gives_only_the_discriminator_eager_attention(family: str) -> None:
    """It differentiates D twice, which fused attention itself cannot."""
    g, d = build_networks(small(family, loss="wasserstein-gp"), 0)
    assert {layer.backend for layer in g.attention_layers().values()} == {"auto"}
    assert {layer.backend for layer in d.attention_layers().values()} == {"eager"}
    _, d = build_networks(small(family), 0)
    assert {layer.backend for layer in d.attention_layers().values()} == {"auto"}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_network_has_its_own_switch_for_spectral_norm(family: str) -> None:
    g, d = build_networks(small(family, spectral_norm_g=False), 0)
    assert not sigmas_of(g)
    assert sigmas_of(d)
    g, d = build_networks(small(family, spectral_norm_d=False), 0)
    assert sigmas_of(g)
    assert not sigmas_of(d)


@pytest.mark.parametrize("family", FAMILIES)
def test_eps_reaches_the_spectral_norm_of_both_networks(family: str) -> None:
    for network in build_networks(small(family, spectral_norm_eps=1e-3), 0):
        norms = [m for m in network.modules() if isinstance(m, SpectralNorm)]
        assert {norm.eps for norm in norms} == {1e-3}


def test_widths_latents_and_classes_are_those_of_the_configuration() -> None:
    g, d = build_networks(small("residual", conditional=True, latent_size=5), 7)
    assert (g.latent_size, g.num_classes, d.num_classes) == (5, 7, 7)
    wider_g, same_d = build_networks(
        small("residual", conditional=True, latent_size=5, channels_g=16), 7
    )
    assert count_parameters(wider_g) > count_parameters(g)
    assert count_parameters(same_d) == count_parameters(d)
    g, d = build_networks(small("residual", conditional=False), 7)
    assert (g.num_classes, d.num_classes) == (0, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_depend_only_on_the_seed_and_the_global_rng_does_not_change(family: str) -> None:
    before = torch.get_rng_state()
    first, again = (build_networks(small(family, seed=3), 0) for _ in range(2))
    other = build_networks(small(family, seed=4), 0)
    assert torch.equal(torch.get_rng_state(), before)
    for one, same, different in zip(first, again, other, strict=True):
        states = [network.state_dict() for network in (one, same, different)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "change",
    [
        {"attention_g": (), "attention_d": ()},
        {"attention_g": (16,)},
        {"attention_block": "residual"},
        {"attention_form": "full"},
    ],
)
def test_layers_that_two_configurations_share_start_with_the_same_weights(
    family: str, change: dict[str, Any]
) -> None:
    for one, other in zip(
        build_networks(small(family), 0), build_networks(small(family, **change), 0), strict=True
    ):
        tensors, others = one.state_dict(), other.state_dict()
        shared = [name for name in tensors if "self_attention" not in name]
        assert shared == [name for name in others if "self_attention" not in name]
        assert all(torch.equal(tensors[name], others[name]) for name in shared)


def test_layers_of_the_same_shape_start_with_different_weights() -> None:
    g, d = build_networks(small("residual", channels_d=8), 0)
    weights = [m.weight for m in [*g.modules(), *d.modules()] if isinstance(m, torch.nn.Conv2d)]
    kinds = {(tuple(weight.shape), float(weight.sum().detach())) for weight in weights}
    assert len(kinds) == len(weights)
