"""The deconvolution networks have the layout of the popular PyTorch SAGAN."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.nn.attention import SelfAttention2d
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.dcgan import DCGANDiscriminator, DCGANGenerator
from sagan.nn.spectral_norm import (
    advance_spectral_norm,
    fold_spectral_norm,
    is_spectrally_normalized,
    sigmas_of,
)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def tiny() -> tuple[DCGANGenerator, DCGANDiscriminator]:
    """Build networks of width 8 with attention that has an effect."""
    g, d = DCGANGenerator(8, latent_size=5), DCGANDiscriminator(8)
    for layer in [*g.modules(), *d.modules()]:
        if isinstance(layer, SelfAttention2d):
            nn.init.constant_(layer.gamma, 0.5)
    return g, d


def popular_attention_count(channels: int) -> int:
    query = key = channels * (channels // 8) + channels // 8
    return query + key + (channels * channels + channels) + 1


def test_generator_has_the_popular_layers_and_3_832_885_parameters() -> None:
    with torch.device("meta"):
        g = DCGANGenerator(64, spectral_norm=None)
    shapes = [(128, 512), (512, 256), (256, 128), (128, 64)]
    expected = 0
    for i, (layer, (c_in, c_out)) in enumerate(zip(g.layers, shapes, strict=True)):
        assert isinstance(layer, nn.ConvTranspose2d)
        assert tuple(layer.weight.shape) == (c_in, c_out, 4, 4)
        assert (layer.stride, layer.padding) == (((1, 1), (0, 0)) if i == 0 else ((2, 2), (1, 1)))
        expected += c_in * c_out * 16 + c_out + 2 * c_out  # weight, bias, batch norm
    assert tuple(g.to_rgb.weight.shape) == (64, 3, 4, 4)
    expected += 64 * 3 * 16 + 3
    expected += popular_attention_count(128) + popular_attention_count(64)
    assert count(g) == expected == 3_832_885


def test_discriminator_has_the_popular_layers_and_3_175_299_parameters() -> None:
    with torch.device("meta"):
        d = DCGANDiscriminator(64, spectral_norm=None)
    shapes = [(3, 64), (64, 128), (128, 256), (256, 512)]
    expected = 0
    for layer, (c_in, c_out) in zip(d.layers, shapes, strict=True):
        assert isinstance(layer, nn.Conv2d)
        assert tuple(layer.weight.shape) == (c_out, c_in, 4, 4)
        assert (layer.stride, layer.padding) == ((2, 2), (1, 1))
        expected += c_in * c_out * 16 + c_out
    assert tuple(d.last.weight.shape) == (1, 512, 4, 4)
    assert d.last.padding == (0, 0)
    expected += 512 * 16 + 1
    expected += popular_attention_count(256) + popular_attention_count(512)
    assert count(d) == expected == 3_175_299


def test_every_convolution_is_normalized_except_the_attentions_and_the_last() -> None:
    for network in tiny():
        assert list(sigmas_of(network)) == [f"layers.{i}" for i in range(4)]
        assert not sigmas_of(network.self_attention)
        last = network.to_rgb if isinstance(network, DCGANGenerator) else network.last
        assert not is_spectrally_normalized(last)
    for network in (DCGANGenerator(8, spectral_norm=None), DCGANDiscriminator(8, attention=None)):
        with_norm = isinstance(network, DCGANDiscriminator)
        assert bool(sigmas_of(network)) is with_norm


def test_sigma_of_transposed_convolutions_is_that_of_an_svd_with_outputs_first() -> None:
    g, _ = tiny()
    for _ in range(300):
        advance_spectral_norm(g)
    for i, layer in enumerate(g.layers):
        raw = layer.parametrizations.weight.original.detach().double().numpy()  # type: ignore[union-attr]
        rows = np.stack([raw[:, c].reshape(-1) for c in range(raw.shape[1])])
        expected = np.linalg.svd(rows, compute_uv=False)[0]
        assert sigmas_of(g)[f"layers.{i}"].item() == pytest.approx(expected, rel=1e-4)


def test_attention_comes_after_layers_3_and_4_as_in_the_popular_code() -> None:
    g, d = tiny()
    order: list[str] = []
    for network in (g, d):
        for i, layer in enumerate(network.layers, start=1):
            layer.register_forward_hook(lambda *_, name=f"layer {i}": order.append(name))
        for size, layer in network.self_attention.items():
            layer.register_forward_hook(lambda *_, name=f"attention {size}": order.append(name))
    d(g(torch.randn(2, 5)))
    layers = ["layer 1", "layer 2", "layer 3"]
    assert order[:6] == [*layers, "attention 16", "layer 4", "attention 32"]
    assert order[6:] == [*layers, "attention 8", "layer 4", "attention 4"]


def test_the_generator_equals_the_popular_forward_pass() -> None:
    """Here written with functions, in evaluation mode."""
    g, _ = tiny()
    for _ in range(3):
        g(torch.randn(4, 5))  # running statistics other than 0 and 1
    g.eval()
    z = torch.randn(2, 5)
    x = z.view(2, 5, 1, 1)
    for i, (layer, norm) in enumerate(zip(g.layers, g.norms, strict=True)):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        x = F.conv_transpose2d(x, layer.weight, layer.bias, stride, padding)  # type: ignore[arg-type]
        mean, variance = (t[:, None, None] for t in (norm.running_mean, norm.running_var))  # type: ignore[index]
        gain, bias = norm.weight[:, None, None], norm.bias[:, None, None]  # type: ignore[index]
        x = torch.clamp_min(gain * (x - mean) / torch.sqrt(variance + 1e-5) + bias, 0)
        if i >= 2:
            x = g.self_attention[{2: "16", 3: "32"}[i]](x)
    x = torch.tanh(F.conv_transpose2d(x, g.to_rgb.weight, g.to_rgb.bias, 2, 1))
    torch.testing.assert_close(g(z), x, rtol=1e-4, atol=1e-5)


def test_the_logit_is_the_last_layers_product_with_the_features() -> None:
    _, d = tiny()
    images = torch.rand(3, 3, 64, 64) * 2 - 1
    features = d.embed(images)
    assert features.shape == (3, 8 * 8 * 4 * 4)
    expected = features @ d.last.weight.flatten() + d.last.bias
    torch.testing.assert_close(d(images), expected, rtol=1e-4, atol=1e-5)


def test_hidden_activations_are_leaky_with_a_slope_of_a_tenth() -> None:
    d = DCGANDiscriminator(8, attention=None, spectral_norm=None)
    seen: list[Tensor] = []
    d.layers[0].register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
    inputs: list[Tensor] = []
    d.layers[1].register_forward_hook(lambda _m, args, _o: inputs.append(args[0].clone()))
    d(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(inputs[0], torch.where(seen[0] > 0, seen[0], 0.1 * seen[0]))


def test_images_are_64_x_64_and_in_range() -> None:
    g, d = tiny()
    g.eval()
    z = torch.randn(2, 5)
    with torch.no_grad():
        images = g(z)
        assert images.shape == (2, 3, 64, 64)
        assert images.abs().max() <= 1
        assert d(images).shape == (2,)


def test_one_image_alone_gives_one_logit() -> None:
    _, d = tiny()
    assert d(torch.zeros(1, 3, 64, 64)).shape == (1,)


def test_inference_changes_no_bit_of_a_networks_state() -> None:
    g, d = tiny()
    before = [{k: v.clone() for k, v in network.state_dict().items()} for network in (g, d)]
    images, maps = g.sample(3, return_attention=True)
    judged = d.attention(images)
    features = d.features(images)
    for network, saved in zip((g, d), before, strict=True):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, saved[name]), name
    assert {name: array.shape for name, array in maps.items()} == {
        "generator.attention_16": (3, 256, 256),
        "generator.attention_32": (3, 1024, 1024),
    }
    assert {name: array.shape for name, array in judged.items()} == {
        "discriminator.attention_8": (3, 64, 64),
        "discriminator.attention_4": (3, 16, 16),
    }
    assert features.shape == (3, 1024)


def test_state_dict_and_deepcopy_carry_everything() -> None:
    g, _ = tiny()
    g(torch.randn(4, 5))
    other = DCGANGenerator(8, latent_size=5)
    other.load_state_dict(g.state_dict(), strict=True)
    expected = g.sample(2)
    assert np.array_equal(other.sample(2), expected)
    assert np.array_equal(copy.deepcopy(g).sample(2), expected)


def test_folding_spectral_norm_does_not_change_images() -> None:
    g, _ = tiny()
    g.eval()
    z = torch.randn(2, 5)
    expected = g(z)
    fold_spectral_norm(g)
    torch.testing.assert_close(g(z), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("network", [DCGANGenerator, DCGANDiscriminator])
def test_attention_at_another_size_is_a_value_error_that_names_the_choices(
    network: type[DCGANGenerator] | type[DCGANDiscriminator],
) -> None:
    choices = "4, 8, 16, 32" if network is DCGANGenerator else "32, 16, 8, 4"
    with pytest.raises(ValueError, match=f"64 x 64.*{choices}"):
        network(8, attention=AttentionSpec((64,)))


@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_attention_works_at_every_size_alone(size: int) -> None:
    spec = AttentionSpec((size,), form="full")
    g, d = DCGANGenerator(8, 5, attention=spec), DCGANDiscriminator(8, attention=spec)
    with torch.no_grad():
        assert d(g(torch.randn(2, 5))).shape == (2,)
    assert list(g.attention_layers()) == [f"generator.attention_{size}"]
    assert list(d.attention_layers()) == [f"discriminator.attention_{size}"]
