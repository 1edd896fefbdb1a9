"""The generator's batch norms: gains and biases by label, and by latent."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sagan.nn.norms import (
    SELF_MODULATION_STD,
    ConditionalBatchNorm2d,
    SelfModulation,
    UnconditionalBatchNorm2d,
)


def test_conditional_batch_norm_applies_each_samples_own_gain_and_bias() -> None:
    norm = ConditionalBatchNorm2d(num_classes=4, channels=3)
    with torch.no_grad():
        norm.gain.weight.copy_(torch.randn(4, 3))
        norm.bias.weight.copy_(torch.randn(4, 3))
    x = 2 * torch.randn(5, 3, 4, 6) + 1
    labels = torch.tensor([2, 0, 2, 3, 1])
    actual = norm(x, labels).detach().double().numpy()

    values = x.double().numpy()
    gains, biases = (t.weight.detach().double().numpy() for t in (norm.gain, norm.bias))
    for c in range(3):
        mean, variance = values[:, c].mean(), values[:, c].var()
        for b, label in enumerate(labels.tolist()):
            normalized = (values[b, c] - mean) / np.sqrt(variance + 1e-5)
            expected = gains[label, c] * normalized + biases[label, c]
            np.testing.assert_allclose(actual[b, c], expected, atol=1e-5)


def test_new_conditional_batch_norm_is_plain_batch_norm() -> None:
    x = torch.randn(4, 3, 5, 5)
    labels = torch.tensor([0, 1, 1, 0])
    conditional, plain = ConditionalBatchNorm2d(2, 3), UnconditionalBatchNorm2d(3)
    torch.testing.assert_close(conditional(x, labels), plain(x, labels))
    torch.testing.assert_close(conditional.norm.running_var, plain.norm.running_var)
    conditional.eval(), plain.eval()
    torch.testing.assert_close(conditional(x, labels), plain(x, labels))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_classes", [0, 4])
def test_self_modulation_scales_and_shifts_what_the_norm_returns(
    num_classes: int, training: bool
) -> None:
    norm: nn.Module = UnconditionalBatchNorm2d(3)
    if num_classes:
        norm = ConditionalBatchNorm2d(num_classes, 3)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    modulation = SelfModulation(5, 3)
    norm.train(training), modulation.train(training)
    x, latents, labels = torch.randn(6, 3, 4, 4), torch.randn(6, 5), torch.arange(6) % 4
    weight = modulation.weight.detach()
    gain, bias = 1 + latents @ weight[:3].T, latents @ weight[3:].T
    expected = norm(x, labels) * gain[:, :, None, None] + bias[:, :, None, None]
    torch.testing.assert_close(norm(x, labels, modulation(latents)), expected, rtol=1e-4, atol=1e-4)


def test_self_modulation_begins_near_no_modulation_and_depends_on_the_latent() -> None:
    modulation = SelfModulation(128, 500)
    gain, bias = modulation(torch.randn(4, 128))
    spread = SELF_MODULATION_STD * 128**0.5
    for change in (gain - 1, bias):
        assert change.std().item() == pytest.approx(spread, rel=0.3)
        assert abs(change.mean().item()) < 0.05
    assert not torch.allclose(gain[0], gain[1])


@pytest.mark.parametrize("num_classes", [0, 4])
def test_statistics_of_large_float16_activations_do_not_overflow(num_classes: int) -> None:
    norm: nn.Module = UnconditionalBatchNorm2d(3)
    if num_classes:
        norm = ConditionalBatchNorm2d(num_classes, 3)
    x = (1e4 * torch.randn(6, 3, 8, 8)).half()  # a variance of 100 million
    normalized = norm(x, torch.arange(6) % 4)
    wide = x.double()
    expected = (wide - wide.mean((0, 2, 3), keepdim=True)) / wide.std((0, 2, 3), keepdim=True)
    torch.testing.assert_close(normalized.double(), expected, rtol=0.01, atol=0.01)
    statistics = dict(norm.named_buffers())
    assert statistics["norm.running_var"].dtype == torch.float32
    expected_var = 0.9 + 0.1 * wide.var((0, 2, 3))
    torch.testing.assert_close(
        statistics["norm.running_var"].double(), expected_var, rtol=1e-3, atol=0
    )


def test_self_modulation_keeps_float32_where_the_network_computes_in_bfloat16() -> None:
    modulation = SelfModulation(128, 8)
    latents = torch.randn(4, 128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within: Tensor = modulation(latents)[0]
    assert torch.equal(within, modulation(latents)[0])
