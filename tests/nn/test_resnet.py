"""The residual networks have the published layouts and counts, and their blocks are exact."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from sagan.nn.attention import SelfAttention2d
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.channels import RESIDUAL_DISCRIMINATOR, RESIDUAL_GENERATOR
from sagan.nn.norms import ConditionalBatchNorm2d
from sagan.nn.resnet import (
    Discriminator,
    DiscriminatorBlock,
    FirstDiscriminatorBlock,
    Generator,
    GeneratorBlock,
    initialize,
)
from sagan.nn.spectral_norm import (
    NORMALIZABLE,
    SpectralNorm,
    SpectralSpec,
    fold_spectral_norm,
    is_spectrally_normalized,
    sigma_of,
    sigmas_of,
)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def generator(*args: Any, **kwargs: Any) -> Generator:
    """Build only shapes. Spectral norm has no parameters."""
    with torch.device("meta"):
        return Generator(*args, **kwargs, spectral_norm=None)


def discriminator(*args: Any, **kwargs: Any) -> Discriminator:
    with torch.device("meta"):
        return Discriminator(*args, **kwargs, spectral_norm=None)


def tiny_generator(resolution: int = 32, num_classes: int = 0, **kwargs: Any) -> Generator:
    width = 4 if resolution == 32 else 8
    kwargs.setdefault("attention", AttentionSpec((16,)))
    return Generator(resolution, width, latent_size=8, num_classes=num_classes, **kwargs)


def tiny_discriminator(resolution: int = 32, num_classes: int = 0, **kwargs: Any) -> Discriminator:
    width = 4 if resolution == 32 else 8
    kwargs.setdefault("attention", AttentionSpec((16,)))
    return Discriminator(resolution, width, num_classes=num_classes, **kwargs)


def open_attention(network: nn.Module) -> None:
    """Give attention an effect: gamma is 0 in a new network."""
    layers = [layer for layer in network.modules() if isinstance(layer, SelfAttention2d)]
    assert layers
    for layer in layers:
        nn.init.constant_(layer.gamma, 0.5)


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same_state(network: nn.Module, before: dict[str, Tensor]) -> None:
    after = network.state_dict()
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name


# --- published layouts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resolution", "width", "classes", "size", "expected_g", "expected_d"),
    [
        (32, 64, 10, 16, 4_386_308, 1_075_586),  # StudioGAN's log, CIFAR-10
        (64, 64, 200, 32, 13_387_396, 19_752_642),  # StudioGAN's log, Tiny-ImageNet
        (128, 64, 1000, 64, 42_017_412, 39_448_258),  # StudioGAN's log, ImageNet
    ],
)
def test_parameter_counts_are_those_of_the_published_logs(
    resolution: int, width: int, classes: int, size: int, expected_g: int, expected_d: int
) -> None:
    arguments: dict[str, Any] = {"num_classes": classes, "attention": AttentionSpec((size,))}
    assert count(generator(resolution, width, **arguments)) == expected_g
    # The 32 x 32 discriminator is 128 wide in all four blocks, the generator 256 in all three.
    assert count(discriminator(resolution, width, **arguments)) == expected_d


def pooled_attention_count(channels: int) -> int:
    query = key = channels * (channels // 8)
    value = output = channels * (channels // 2)
    return query + key + value + output + 1


def test_sagan_128_with_attention_at_32_has_the_papers_channels_and_count() -> None:
    g = generator(128, 64, num_classes=1000, attention=AttentionSpec((32,)))
    d = discriminator(128, 64, num_classes=1000, attention=AttentionSpec((32,)))
    assert g.linear.out_features == 1024 * 4 * 4
    assert [block.conv2.out_channels for block in g.blocks] == [1024, 512, 256, 128, 64]
    assert [block.conv1.in_channels for block in g.blocks] == [1024, 1024, 512, 256, 128]
    assert [b.conv2.out_channels for b in d.blocks] == [64, 128, 256, 512, 1024, 1024]
    # G's maps have 256 channels at 32 x 32 and 128 at 64 x 64; D's 128 and 64.
    assert count(g) == 42_017_412 - pooled_attention_count(128) + pooled_attention_count(256)
    assert count(d) == 39_448_258 - pooled_attention_count(64) + pooled_attention_count(128)


def test_the_count_of_a_small_generator_follows_from_its_layers() -> None:
    """G at 32, width 2 (8 channels), latents of size 5 and 3 classes, added up by hand."""
    c, latent, classes = 8, 5, 3
    conv3, conv1 = c * c * 9 + c, c * c + c
    block = 2 * (2 * classes * c) + 2 * conv3 + conv1
    expected = (latent + 1) * c * 16 + 3 * block + 2 * c + (c * 3 * 9 + 3)
    assert count(generator(32, 2, latent_size=latent, num_classes=classes)) == expected
    # Without classes each of the six norms has one gain and one bias for all.
    expected -= 6 * 2 * c * (classes - 1)
    assert count(generator(32, 2, latent_size=latent)) == expected


def test_spectral_norm_adds_no_parameters_and_skips_the_tables_of_batch_norm() -> None:
    for build in (tiny_generator, tiny_discriminator):
        network = build(num_classes=3)
        assert count(network) == count(build(num_classes=3, spectral_norm=None))
        layers = {n: m for n, m in network.named_modules() if isinstance(m, NORMALIZABLE)}
        tables = {name for name in layers if name.endswith((".gain", ".bias"))}
        # A table of gains and one of biases for each of the generator's six norms with classes.
        assert len(tables) == (12 if build is tiny_generator else 0)
        normalized = {name for name, layer in layers.items() if is_spectrally_normalized(layer)}
        assert normalized == set(layers) - tables
        assert len(normalized) > 10
    assert "embedding" in sigmas_of(tiny_discriminator(num_classes=3))
    assert not sigmas_of(tiny_generator(spectral_norm=None))


def test_the_discriminators_blocks_halve_images_to_4_or_at_32_to_8() -> None:
    for resolution, sides in {
        32: [16, 8, 8, 8],
        64: [32, 16, 8, 4, 4],
        128: [64, 32, 16, 8, 4, 4],
        256: [128, 64, 32, 16, 8, 4, 4],
    }.items():
        network = discriminator(resolution, 8)
        x = torch.zeros(1, 3, resolution, resolution, device="meta")
        measured = []
        for block in network.blocks:
            x = block(x)
            measured.append(x.shape[-1])
        assert measured == sides == network.sizes


# --- initial weights ----------------------------------------------------------------------------


def test_initial_weights_are_orthogonal_biases_zero_and_class_gains_one() -> None:
    for network in (tiny_generator(num_classes=3), tiny_discriminator(num_classes=3)):
        fold_spectral_norm(network)  # an orthogonal matrix has norm 1 already
        checked = {"gain": 0, "bias": 0, "weight": 0}
        for name, layer in network.named_modules():
            if name.endswith((".gain", ".bias")):
                expected = 1.0 if name.endswith(".gain") else 0.0
                assert (layer.weight == expected).all(), name
                checked[name.rpartition(".")[2]] += 1
            elif isinstance(layer, NORMALIZABLE):
                singular = np.linalg.svd(layer.weight.detach().flatten(1).numpy())[1]  # type: ignore[operator,union-attr]
                np.testing.assert_allclose(singular, 1, atol=1e-3, err_msg=name)
                checked["weight"] += 1
                if getattr(layer, "bias", None) is not None:
                    assert (layer.bias == 0).all(), name  # type: ignore[union-attr]
        assert checked["weight"] > 10
        num_tables = 6 if isinstance(network, Generator) else 0
        assert (checked["gain"], checked["bias"]) == (num_tables, num_tables)


def test_the_initializer_is_used_before_weights_are_normalized() -> None:
    network = tiny_generator(initializer=lambda weight: nn.init.constant_(weight, 0.25))
    raw = network.linear.parametrizations.weight.original  # type: ignore[union-attr]
    assert (raw == 0.25).all()  # type: ignore[union-attr]
    # A constant matrix c of m x n has norm c * sqrt(m * n).
    rows, columns = raw.shape  # type: ignore[union-attr,misc]
    sigma = sigma_of(network.linear).item()
    assert sigma == pytest.approx(0.25 * (rows * columns) ** 0.5, rel=1e-5)  # type: ignore[operator]


def test_initialize_sets_every_weight_except_the_tables() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), ConditionalBatchNorm2d(2, 3), nn.Linear(3, 3))
    initialize(network, nn.init.zeros_)
    assert network[0].weight.abs().max() == 0
    assert network[2].weight.abs().max() == 0
    assert (network[1].gain.weight == 1).all()


# --- blocks -------------------------------------------------------------------------------------


def test_a_generator_blocks_skip_equals_the_published_order_upsample_then_convolve() -> None:
    block = GeneratorBlock(6, 4, num_classes=0).double().eval()
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)

    def upsample(t: Tensor) -> Tensor:
        return t.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    h = block.conv1(upsample(F.relu(block.norm1(x, None))))
    h = block.conv2(F.relu(block.norm2(h, None)))
    expected = h + block.skip(upsample(x))
    torch.testing.assert_close(block(x, None), expected)


@pytest.mark.parametrize("downsample", [True, False])
@pytest.mark.parametrize("channels", [(6, 4), (4, 4)])
def test_a_discriminator_block_equals_the_published_order_convolve_then_pool(
    channels: tuple[int, int], downsample: bool
) -> None:
    block = DiscriminatorBlock(*channels, downsample=downsample).double()
    x = torch.randn(2, channels[0], 6, 6, dtype=torch.float64)
    residual = block.conv2(F.relu(block.conv1(F.relu(x))))
    # Published: a 1x1 convolution wherever the shape changes, before the pooling.
    has_skip = downsample or channels[0] != channels[1]
    assert isinstance(block.skip, nn.Conv2d) is has_skip
    skip = block.skip(x) if has_skip else x
    if downsample:
        residual, skip = (
            t.unflatten(2, (3, 2)).unflatten(4, (3, 2)).mean(dim=(3, 5)) for t in (residual, skip)
        )
    torch.testing.assert_close(block(x), residual + skip)


def test_the_first_discriminator_block_equals_the_published_order_and_keeps_dark_pixels() -> None:
    block = FirstDiscriminatorBlock(3, 4).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    residual = F.avg_pool2d(block.conv2(F.relu(block.conv1(x))), 2)
    torch.testing.assert_close(block(x), residual + F.avg_pool2d(block.skip(x), 2))
    with torch.no_grad():
        block.conv1.weight.fill_(1)
        block.conv1.bias.fill_(100)  # type: ignore[union-attr]  # keeps its own ReLU open
    assert not torch.allclose(block(-x.abs()), block(torch.zeros_like(x)))


def test_a_discriminator_blocks_skip_passes_negative_values_and_does_not_change_its_input() -> None:
    """The in-place ReLU at the head of the block that cost mmgeneration an FID point."""
    block = DiscriminatorBlock(4, 4, downsample=False)
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)  # type: ignore[arg-type]
    x = -torch.rand(2, 4, 6, 6) - 0.1
    before = x.clone()
    assert torch.equal(block(x), before)
    assert torch.equal(x, before)


@pytest.mark.parametrize("downsample", [True, False])
def test_a_rectified_skip_is_what_an_in_place_relu_makes_of_a_discriminator_block(
    downsample: bool,
) -> None:
    plain = DiscriminatorBlock(4, 4, downsample).double()
    block = DiscriminatorBlock(4, 4, downsample, rectified_skip=True).double()
    block.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    before = x.clone()
    torch.testing.assert_close(block(x), plain(F.relu(x)))
    assert not torch.allclose(block(x), plain(x))
    assert torch.equal(x, before)


def test_a_generator_block_does_not_change_its_input() -> None:
    for training in (True, False):
        block = GeneratorBlock(4, 4, num_classes=0).train(training)
        x = torch.randn(2, 4, 3, 3)
        before = x.clone()
        block(x, None)
        assert torch.equal(x, before)


# --- networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(), (16,), (8, 16)])
@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_both_networks_work_at_every_resolution_with_and_without_labels_and_attention(
    resolution: int, num_classes: int, sizes: tuple[int, ...]
) -> None:
    arguments: dict[str, Any] = {"attention": AttentionSpec(sizes), "initializer": nn.init.normal_}
    g = tiny_generator(resolution, num_classes, **arguments)
    d = tiny_discriminator(resolution, num_classes, **arguments)
    labels = torch.tensor([2, 0]) if num_classes else None
    with torch.no_grad():
        images = g(torch.randn(2, 8), labels)
        logits = d(images, labels)
    assert images.shape == (2, 3, resolution, resolution)
    assert images.abs().max() <= 1
    assert logits.shape == (2,)
    assert logits.isfinite().all()
    assert set(g.attention_layers()) == {f"generator.attention_{size}" for size in sizes}
    assert set(d.attention_layers()) == {f"discriminator.attention_{size}" for size in sizes}


@pytest.mark.parametrize(
    ("resolution", "like", "start", "g_sizes", "d_sizes"),
    [
        (48, 32, 6, [12, 24, 48], [24, 12, 12, 12]),
        (96, 64, 6, [12, 24, 48, 96], [48, 24, 12, 6, 6]),
        (160, 128, 5, [10, 20, 40, 80, 160], [80, 40, 20, 10, 5, 5]),
    ],
)
def test_other_squares_have_a_published_layout_with_a_larger_start(
    resolution: int, like: int, start: int, g_sizes: list[int], d_sizes: list[int]
) -> None:
    g, published_g = generator(resolution, 8, latent_size=8), generator(like, 8, latent_size=8)
    d, published_d = discriminator(resolution, 8), discriminator(like, 8)
    assert (g.sizes, d.sizes) == (g_sizes, d_sizes)
    images = g(torch.empty(2, 8, device="meta"))
    assert images.shape == (2, 3, resolution, resolution)
    assert d(images).shape == (2,)
    # The start's linear layer is all that differs: every convolution has the same shape.
    shapes = {name: p.shape for name, p in g.named_parameters() if "linear" not in name}
    published = {name: p.shape for name, p in published_g.named_parameters()}
    assert shapes.items() <= published.items()
    assert g.linear.out_features * 16 == published_g.linear.out_features * start**2
    assert count(d) == count(published_d)


@pytest.mark.parametrize(("colors", "channels"), [("gray", 1), ("rgb", 3), ("rgba", 4)])
def test_colors_change_the_first_and_the_last_convolution_only(colors: Any, channels: int) -> None:
    ends = {Generator: "to_rgb", Discriminator: ("blocks.0.conv1", "blocks.0.skip")}
    for build in (tiny_generator, tiny_discriminator):
        network, rgb = (build(colors=each, seed=0, spectral_norm=None) for each in (colors, "rgb"))
        weights = dict(network.named_parameters())
        for name, weight in rgb.named_parameters():
            if not name.startswith(ends[type(rgb)]):
                assert torch.equal(weights[name], weight), name
    with torch.no_grad():
        images = tiny_generator(colors=colors)(torch.randn(2, 8))
        assert images.shape == (2, channels, 32, 32)
        assert tiny_discriminator(colors=colors)(images).shape == (2,)


def test_512_pixels_have_the_channels_of_biggan() -> None:
    g, d = generator(512, 1, latent_size=8), discriminator(512, 1)
    assert [block.conv2.out_channels for block in g.blocks] == [16, 8, 8, 4, 2, 1, 1]
    assert [block.conv2.out_channels for block in d.blocks] == [1, 1, 2, 4, 8, 8, 16, 16]
    assert d.sizes == [256, 128, 64, 32, 16, 8, 4, 4]
    images = g(torch.empty(1, 8, device="meta"))
    assert images.shape == (1, 3, 512, 512)
    assert d(images).shape == (1,)


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_attention_fits_every_map_of_both_networks_at_once(resolution: int) -> None:
    """On the meta device: a map of 256 x 256 positions, squared, is too large for a test."""
    g_sizes = tuple(size for size in (8, 16, 32, 64, 128, 256) if size <= resolution)
    smallest = 8 if resolution == 32 else 4
    d_sizes = tuple(size for size in (4, 8, 16, 32, 64, 128) if smallest <= size <= resolution // 2)
    g = generator(resolution, 8, latent_size=8, attention=AttentionSpec(g_sizes, backend="eager"))
    d = discriminator(resolution, 8, attention=AttentionSpec(d_sizes, backend="eager"))
    images = g(torch.empty(2, 8, device="meta"))
    assert images.shape == (2, 3, resolution, resolution)
    assert d(images).shape == (2,)
    assert len(g.attention_layers()) == len(g_sizes)
    assert len(d.attention_layers()) == len(d_sizes)


def test_a_generators_images_fill_the_range_but_never_leave_it() -> None:
    g = tiny_generator(initializer=lambda weight: nn.init.normal_(weight, std=3))
    fold_spectral_norm(g)
    with torch.no_grad():
        g.to_rgb.weight.mul_(50)
        images = g(torch.randn(4, 8))
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.max() - images.min() > 1.9


@pytest.mark.parametrize("size", [8, 16, 32])
def test_attention_is_applied_to_the_output_of_the_block_of_its_size(size: int) -> None:
    g = tiny_generator(attention=AttentionSpec((size,)))
    seen: list[tuple[int, ...]] = []
    layer = g.self_attention[str(size)]
    layer.register_forward_hook(lambda _m, inputs, _o: seen.append(tuple(inputs[0].shape)))
    outputs: list[Tensor] = []
    block = g.blocks[{8: 0, 16: 1, 32: 2}[size]]
    block.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    g(torch.randn(2, 8))
    assert seen == [tuple(outputs[0].shape)] == [(2, 16, size, size)]


def test_attention_at_a_size_of_several_blocks_follows_only_the_first() -> None:
    d = tiny_discriminator(attention=AttentionSpec((8,)))  # sizes 16, 8, 8, 8
    order: list[str] = []
    d.self_attention["8"].register_forward_hook(lambda *_: order.append("attention"))
    for i, block in enumerate(d.blocks):
        block.register_forward_hook(lambda *_, name=f"block {i}": order.append(name))
    d(torch.randn(1, 3, 32, 32))
    assert order == ["block 0", "block 1", "attention", "block 2", "block 3"]


def test_the_order_and_repetition_of_attention_sizes_do_not_matter() -> None:
    for build in (tiny_generator, tiny_discriminator):
        keys = list(build(attention=AttentionSpec((8, 16))).state_dict())
        assert list(build(attention=AttentionSpec((16, 8, 16))).state_dict()) == keys
        assert list(build(attention=AttentionSpec((16, 8))).state_dict()) == keys


def test_attention_changes_images_and_logits_once_gamma_is_not_0() -> None:
    g, d = tiny_generator().eval(), tiny_discriminator().eval()
    with torch.no_grad():
        z = torch.randn(2, 8)
        images = g(z)
        logits = d(images)
        open_attention(g), open_attention(d)
        assert (g(z) - images).abs().max() > 1e-3
        assert (d(images) - logits).abs().max() > 1e-3


def test_the_logit_is_the_linear_head_plus_the_labels_projection_of_summed_features() -> None:
    """Miyato & Koyama 2018, equation 5, with the normalized embedding and head."""
    d = tiny_discriminator(num_classes=4)
    open_attention(d)
    images, labels = torch.randn(3, 3, 32, 32), torch.tensor([3, 0, 3])
    maps: list[Tensor] = []
    d.blocks[-1].register_forward_hook(lambda _m, _i, output: maps.append(output))
    actual = d(images, labels)
    assert d.embedding is not None
    features = maps[0].detach().double().clamp_min(0).numpy().sum(axis=(2, 3))
    weight, bias, table = (
        t.detach().double().numpy() for t in (d.linear.weight, d.linear.bias, d.embedding.weight)
    )
    for b, label in enumerate(labels.tolist()):
        expected = (weight[0] * features[b]).sum() + bias[0] + (table[label] * features[b]).sum()
        assert actual[b].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(d.embed(images).detach().numpy(), features, rtol=1e-4, atol=1e-5)


def test_labels_change_images_and_logits() -> None:
    g, d = tiny_generator(num_classes=3), tiny_discriminator(num_classes=3)
    g.eval()
    with torch.no_grad():
        for norm in g.modules():
            if isinstance(norm, ConditionalBatchNorm2d):
                norm.gain.weight.add_(0.3 * torch.randn_like(norm.gain.weight))
        z, images = torch.randn(1, 8).expand(3, 8), torch.randn(1, 3, 32, 32).expand(3, 3, 32, 32)
        drawn, logits = g(z, torch.arange(3)), d(images, torch.arange(3))
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert (drawn[a] - drawn[b]).abs().max() > 1e-3
        assert (logits[a] - logits[b]).abs() > 1e-6


def test_a_conditional_network_without_labels_is_an_error() -> None:
    with pytest.raises(ValueError, match="conditional: give labels"):
        tiny_generator(num_classes=3)(torch.randn(2, 8))
    with pytest.raises(ValueError, match="conditional: give labels"):
        tiny_discriminator(num_classes=3)(torch.randn(2, 3, 32, 32))


def test_every_parameter_of_both_networks_gets_a_gradient() -> None:
    g, d = tiny_generator(num_classes=3), tiny_discriminator(num_classes=3)
    open_attention(g), open_attention(d)
    labels = torch.tensor([0, 1, 2, 0])
    d(g(torch.randn(4, 8), labels), labels).square().sum().backward()
    # A batch norm right after a convolution takes its bias away.
    without_effect = {f"blocks.{i}.conv1.bias" for i in range(len(g.blocks))}
    assert without_effect <= {name for name, _ in g.named_parameters()}
    for network in (g, d):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            if network is d or name not in without_effect:
                assert parameter.grad.abs().max() > 0, name


def test_only_batch_norm_in_training_lets_images_of_a_batch_interact() -> None:
    d, g = tiny_discriminator(), tiny_generator()
    open_attention(d)
    images = torch.randn(3, 3, 32, 32)
    z = torch.randn(3, 8)
    with torch.no_grad():
        one_by_one = torch.cat([d(image[None]) for image in images])
        torch.testing.assert_close(d(images), one_by_one, rtol=1e-4, atol=1e-4)
        g.eval()
        torch.testing.assert_close(g(z)[:1], g(z[:1]), rtol=1e-4, atol=1e-4)
        g.train()
        assert (g(z)[:2] - g(z[:2])).abs().max() > 1e-3


@pytest.mark.parametrize("num_classes", [0, 3])
def test_inference_changes_no_bit_of_a_networks_state(num_classes: int) -> None:
    g, d = tiny_generator(num_classes=num_classes), tiny_discriminator(num_classes=num_classes)
    labels = [0, 2, 1] if num_classes else None
    before_g, before_d = state(g), state(d)
    rng = torch.get_rng_state()
    images, _ = g.sample(3, labels=labels, return_attention=True)
    g.sample(3, labels=labels)
    d.features(images)
    d.attention(images)
    assert_same_state(g, before_g)
    assert_same_state(d, before_d)
    assert torch.equal(torch.get_rng_state(), rng)
    assert g.training
    assert d.training
    assert all(parameter.grad is None for parameter in [*g.parameters(), *d.parameters()])


@pytest.mark.parametrize("build", [tiny_generator, tiny_discriminator])
def test_state_dict_and_deepcopy_carry_everything(build: Any) -> None:
    network, other = build(num_classes=3), build(num_classes=3)
    open_attention(network)
    argument = torch.randn(2, 8) if build is tiny_generator else torch.randn(2, 3, 32, 32)
    labels = torch.tensor([1, 2])
    network(argument, labels)  # moves G's running statistics
    other.load_state_dict(network.state_dict(), strict=True)
    twin = copy.deepcopy(network)
    for it in (network, other, twin):
        it.eval()
    expected = network(argument, labels)
    assert torch.equal(other(argument, labels), expected)
    assert torch.equal(twin(argument, labels), expected)


def test_features_scores_and_attention_do_not_depend_on_the_callers_autocast() -> None:
    network = tiny_discriminator()
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    features, (scores, maps) = network.features(images), network.scores_and_attention(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert (network.features(images) == features).all()
        scores_again, maps_again = network.scores_and_attention(images)
    assert (scores_again == scores).all()
    assert all((maps_again[name] == maps[name]).all() for name in maps)


def test_the_whole_generator_is_in_bfloat16_on_a_gpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast widens some operations to float32 on GPUs but not on CPUs."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    found: dict[str, torch.dtype] = {}
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        network = Generator(32, 8, attention=AttentionSpec((16,)), spectral_norm=None)
        for name, part in network.named_modules():
            part.register_forward_hook(
                lambda _part, _inputs, output, name=name: found.update({name: output.dtype})
            )
        with torch.autocast("cuda", torch.bfloat16):
            network(torch.randn(4, network.latent_size))
    assert len(found) > 20
    assert {name for name, dtype in found.items() if dtype != torch.bfloat16} == set()


def test_bfloat16_autocast_changes_images_and_logits_little() -> None:
    g, d = tiny_generator(num_classes=3).eval(), tiny_discriminator(num_classes=3)
    open_attention(g), open_attention(d)
    z, labels = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    g.train()(z, labels)  # sets running statistics
    g.eval()
    with torch.no_grad():
        images = g(z, labels)
        logits = d(images, labels)
        with torch.autocast("cpu", torch.bfloat16):
            half_images = g(z, labels)
            half_logits = d(images, labels)
    assert half_logits.dtype == torch.float32
    assert (half_images.float() - images).abs().max() < 0.05
    assert (half_logits.float() - logits).abs().max() < 0.05 * logits.abs().max() + 0.02


def test_channels_last_weights_change_only_rounding() -> None:
    g, d = tiny_generator().eval(), tiny_discriminator()
    open_attention(g), open_attention(d)
    z = torch.randn(2, 8)
    with torch.no_grad():
        images = g(z)
        logits = d(images)
        g.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        d.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        torch.testing.assert_close(g(z), images, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(d(images), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_a_resolution_without_layout_is_a_value_error_that_says_what_has_one(network: Any) -> None:
    with pytest.raises(ValueError, match=r"100 x 100: .* must be multiples of 16 and at most 256"):
        network(100, 8)
    with pytest.raises(ValueError, match="the shorter side must have 32 to 1023 pixels"):
        network(16, 8)
    assert tuple(RESIDUAL_GENERATOR) == tuple(RESIDUAL_DISCRIMINATOR) == (32, 64, 128, 256, 512)


@pytest.mark.parametrize(
    ("network", "resolution", "size", "choices"),
    [
        (Generator, 32, 4, "8, 16, 32"),
        (Generator, 64, 128, "8, 16, 32, 64"),
        (Discriminator, 32, 4, "16, 8"),
        (Discriminator, 128, 128, "64, 32, 16, 8, 4"),
    ],
)
def test_attention_at_a_size_of_no_block_is_a_value_error_that_names_the_choices(
    network: Any, resolution: int, size: int, choices: str
) -> None:
    with pytest.raises(ValueError, match=rf"{size} x {size}.* {choices}$"):
        network(resolution, 8, attention=AttentionSpec((size,)))


def test_eps_is_used_in_every_normalized_layer() -> None:
    for network in (
        Generator(32, 8, spectral_norm=SpectralSpec(eps=1e-3)),
        Discriminator(32, 8, num_classes=2, spectral_norm=SpectralSpec(eps=1e-3)),
    ):
        norms = [m for m in network.modules() if isinstance(m, SpectralNorm)]
        assert {norm.eps for norm in norms} == {1e-3}
