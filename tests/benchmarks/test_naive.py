"""The naive networks and step compute the same as the package's, so their times compare.

They are compared in float64: in float32 a sum near zero may differ in sign, depending
on the processor; ReLU then passes a gradient or none, and gradients differ without bound.
"""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import naive
from benchmarks.flops import convolve_skips_at_the_smaller_resolution, step_flops
from sagan.build import build_networks
from sagan.config import Config, resolve
from sagan.errors import SaganError
from sagan.nn.spectral_norm import advance_spectral_norm

PRESETS = ("classic-32", "classic-64", "sagan-32", "dcgan-64")
NUM_CLASSES, BATCH = 3, 4


def tiny(preset: str) -> Config:
    config = resolve(preset, {"channels_g": 8, "channels_d": 8, "batch_size": BATCH, "d_steps": 1})
    return config.model_copy(update={"conditional": config.takes_labels})


def open_gates(network: nn.Module) -> None:
    """Set gamma off 0, its initial value, at which attention has no effect."""
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.7)


def networks(config: Config) -> list[tuple[nn.Module, nn.Module]]:
    """Return (ours, naive) of G and of D with the same weights, in float64."""
    ours = build_networks(config, NUM_CLASSES)
    pairs = list(zip(ours, naive.build(config, NUM_CLASSES), strict=True))
    for own, other in pairs:
        own.double(), other.double()
        open_gates(own)
        naive.copy_weights(own, other)
    return pairs


def inputs(config: Config) -> tuple[Tensor, Tensor | None]:
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(BATCH, config.latent_size, generator=rng, dtype=torch.float64)
    return latents, torch.arange(BATCH) % NUM_CLASSES if config.conditional else None


def assert_same(actual: Tensor, expected: Tensor, name: str = "") -> None:
    """Compare up to rounding in float64: about thirty sums in a row of BATCH * 64 * 64 terms.

    30 * 16384 * 1.1e-16 is 5e-11, which batch norm may enlarge. A gradient that is 0, such as that
    of a bias before batch norm, is computed as the rounding errors of such a sum of terms about 1.
    """
    assert actual.dtype == torch.float64
    distance = (actual - expected).norm()
    assert distance < 1e-9 * expected.norm() + 1e-11, f"{name}: {distance}"


def raw_name(name: str) -> str:
    return name.replace("parametrizations.weight.original", "weight_orig")


@pytest.mark.parametrize("preset", PRESETS)
def test_naive_networks_have_our_outputs_and_gradients(preset: str) -> None:
    config = tiny(preset)
    (g, naive_g), (d, naive_d) = networks(config)
    latents, labels = inputs(config)
    for network in (g, d):
        advance_spectral_norm(network)  # the naive networks do so in their forward pass
    images, naive_images = g(latents, labels), naive_g(latents, labels)
    assert_same(images, naive_images)
    logits, naive_logits = d(images, labels), naive_d(naive_images, labels)
    assert_same(logits, naive_logits)
    logits.square().mean().backward()
    naive_logits.square().mean().backward()
    for own, other in ((g, naive_g), (d, naive_d)):
        expected = dict(other.named_parameters())
        for name, parameter in own.named_parameters():
            gradient = expected.pop(raw_name(name)).grad
            assert gradient is not None
            assert_same(parameter.grad, gradient, name)
        assert not expected


@pytest.mark.parametrize("preset", PRESETS)
def test_naive_generators_draw_our_images_in_evaluation(preset: str) -> None:
    config = tiny(preset)
    (g, naive_g), _ = networks(config)
    latents, labels = inputs(config)
    with torch.no_grad():
        assert_same(g.eval()(latents, labels), naive_g.eval()(latents, labels))


def test_the_naive_step_takes_adams_first_step_along_our_gradients() -> None:
    config = tiny("classic-32")
    (g, _), (d, _) = networks(config)
    latents, labels = inputs(config)
    real = naive.Batch(torch.rand(BATCH, 3, 32, 32, dtype=torch.float64) * 2 - 1, labels)
    training = naive.Naive(config, NUM_CLASSES, itertools.repeat(real))
    training.generator.double(), training.discriminator.double()
    naive.copy_weights(g, training.generator)
    naive.copy_weights(d, training.discriminator)
    fake = naive.Batch(training.generator(latents, labels), labels)
    training.fake = lambda: fake  # type: ignore[method-assign]
    before = copy.deepcopy(training.discriminator.state_dict())
    training.update_discriminator(real)

    with torch.no_grad():
        images = g(latents, labels)
    advance_spectral_norm(d)
    F.relu(1 - d(real.images, labels)).mean().backward()
    advance_spectral_norm(d)  # the naive D iterates in its second pass as well
    F.relu(1 + d(images, labels)).mean().backward()
    changed = training.discriminator.state_dict()
    for name, parameter in d.named_parameters():
        # Adam's first step is lr * gradient / |gradient|: its sign.
        step = changed[raw_name(name)] - before[raw_name(name)]
        clear = parameter.grad.abs() > 1e-9 * parameter.grad.abs().max() + 1e-11
        assert torch.equal(step[clear].sign(), -parameter.grad[clear].sign()), name


def test_pooling_before_a_skip_changes_no_output() -> None:
    config = tiny("classic-64")
    (_, naive_g), (_, naive_d) = networks(config)
    latents, labels = inputs(config)
    with torch.no_grad():
        naive_g.eval(), naive_d.eval()
        images = naive_g(latents, labels)
        logits = naive_d(images, labels)
        for network in (naive_g, naive_d):
            convolve_skips_at_the_smaller_resolution(network)
        assert_same(naive_g(latents, labels), images)
        assert_same(naive_d(images, labels), logits)


def test_a_steps_operations_are_those_counted_by_hand() -> None:
    """dcgan-64 without attention: three times each convolution's 2 * k*k*in*out*positions."""
    settings = {"channels_g": 8, "channels_d": 8, "attention_g": (), "attention_d": ()}
    config = resolve("dcgan-64", settings | {"batch_size": 2})
    # (in * out * positions of the smaller map) of G's and D's 4 x 4 convolutions, one image.
    g = [128 * 64 * 1, 64 * 32 * 16, 32 * 16 * 64, 16 * 8 * 256, 8 * 3 * 1024]
    d = [3 * 8 * 1024, 8 * 16 * 256, 16 * 32 * 64, 32 * 64 * 16, 64 * 1 * 1]
    image = 2 * 16 * 2  # two operations, 16 taps, two images
    forward_g, forward_d = image * sum(g), image * sum(d)
    # D's update: G forward; D forward, weight and input gradients of two batches, but no gradient
    # of the pictures. G's: all of G but the latents' gradient; D forward and input gradients.
    update_d = forward_g + 2 * (3 * forward_d - image * d[0])
    update_g = 3 * forward_g - image * g[0] + 2 * forward_d
    assert step_flops(config, 0) == update_d + update_g


def test_a_network_that_has_no_naive_code_is_refused() -> None:
    with pytest.raises(SaganError, match="no naive code for the projected family"):
        naive.build(resolve("cpu-32"), NUM_CLASSES)
