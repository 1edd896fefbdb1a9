"""What an `AttentionSpec` says reaches every attention layer of all four networks."""

from collections.abc import Callable

import pytest
from torch import nn

from sagan.nn.attention import SelfAttention2d
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.dcgan import DCGANDiscriminator, DCGANGenerator
from sagan.nn.residual_control import ResidualControl2d
from sagan.nn.resnet import Discriminator, Generator
from sagan.nn.spectral_norm import sigmas_of

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "residual generator": lambda **arguments: Generator(32, 8, latent_size=8, **arguments),
    "residual discriminator": lambda **arguments: Discriminator(32, 8, **arguments),
    "dcgan generator": lambda **arguments: DCGANGenerator(8, latent_size=8, **arguments),
    "dcgan discriminator": lambda **arguments: DCGANDiscriminator(8, **arguments),
}


def blocks(network: nn.Module) -> dict[str, nn.Module]:
    return dict(network.self_attention.named_children())  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("name", ["residual generator", "residual discriminator"])
def test_a_bare_residual_network_has_spectral_norm_and_no_attention(name: str) -> None:
    network = NETWORKS[name]()
    assert blocks(network) == {}
    assert sigmas_of(network)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("dcgan generator", ["16", "32"]), ("dcgan discriminator", ["8", "4"])],
)
def test_a_bare_dcgan_network_has_the_popular_attention(name: str, sizes: list[str]) -> None:
    network = NETWORKS[name]()
    assert list(blocks(network)) == sizes
    assert {layer.form for layer in blocks(network).values()} == {"full"}
    assert sigmas_of(network)


@pytest.mark.parametrize("name", NETWORKS)
def test_none_is_no_attention_and_no_spectral_norm(name: str) -> None:
    network = NETWORKS[name](attention=None, spectral_norm=None)
    assert blocks(network) == {}
    assert not sigmas_of(network)


@pytest.mark.parametrize("name", NETWORKS)
def test_form_and_backend_reach_every_attention_layer(name: str) -> None:
    spec = AttentionSpec((8, 16), form="paper", backend="chunked")
    layers = blocks(NETWORKS[name](attention=spec))
    assert set(layers) == {"8", "16"}
    for layer in layers.values():
        assert isinstance(layer, SelfAttention2d)
        assert (layer.form, layer.backend) == ("paper", "chunked")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_control_stands_where_attention_would(name: str) -> None:
    layers = blocks(NETWORKS[name](attention=AttentionSpec((8, 16), block="residual")))
    assert {size: type(layer) for size, layer in layers.items()} == {
        "8": ResidualControl2d,
        "16": ResidualControl2d,
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_an_unknown_block_is_refused_with_the_choices(name: str) -> None:
    spec = AttentionSpec((), block="atention")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'atention': choose from attention, residual"):
        NETWORKS[name](attention=spec)
