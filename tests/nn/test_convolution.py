"""Convolutions computed in other ways than torch's equal torch's."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sagan.nn import convolution, winograd
from sagan.nn.convolution import convolve, convolve_transposed
from tests.nn.gradients import assert_same_gradients

PAIRS = [(convolve, F.conv2d, False), (convolve_transposed, F.conv_transpose2d, True)]


@pytest.fixture
def by_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute all gradients of weights as products, a few images at a time."""
    monkeypatch.setattr(convolution, "WIDE_WINDOW", 0)
    monkeypatch.setattr(convolution, "CHUNK_ENTRIES", 500)


@pytest.fixture
def by_winograd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute every 3x3 convolution that can be in Winograd's way, two images at a time."""
    monkeypatch.setattr(convolution, "WINOGRAD_POSITIONS", 1)
    monkeypatch.setattr(convolution._gains_by_winograd, "__defaults__", (1,))
    monkeypatch.setattr(convolution, "WINOGRAD_CHANNELS", 1)
    monkeypatch.setattr(winograd, "TILES_AT_A_TIME", 10)


def draw_operands(
    transposed: bool, batch: int, c_in: int, c_out: int, side: int, kernel: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, weight and bias in float64, which need gradients."""
    rng = torch.Generator().manual_seed(0)
    channels = (c_in, c_out) if transposed else (c_out, c_in)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64, requires_grad=True)

    return draw(batch, c_in, side, side + 1), draw(*channels, kernel, kernel), draw(c_out)


@pytest.mark.usefixtures("by_products")
@pytest.mark.parametrize(("ours", "torchs", "transposed"), PAIRS)
@given(
    batch=st.integers(1, 5), c_in=st.integers(1, 4), c_out=st.integers(1, 4),
    side=st.integers(4, 7),
    window=st.sampled_from([(3, 1, 1), (4, 2, 1), (4, 1, 0), (1, 1, 0), (3, 2, 0)]),
    biased=st.booleans(),
)  # fmt: skip
def test_result_and_gradients_equal_those_of_torch(
    ours, torchs, transposed, batch, c_in, c_out, side, window, biased: bool
) -> None:
    kernel, stride, padding = window
    x, weight, bias = draw_operands(transposed, batch, c_in, c_out, side, kernel)
    inputs = [x, weight, bias] if biased else [x, weight]
    actual = ours(x, weight, bias if biased else None, stride, padding)
    expected = torchs(x, weight, bias if biased else None, stride, padding)
    assert torch.equal(actual, expected)
    assert_same_gradients(actual, expected, inputs)


@pytest.mark.usefixtures("by_products")
@pytest.mark.parametrize(("ours", "torchs", "transposed"), PAIRS)
def test_the_result_can_be_differentiated_twice(ours, torchs, transposed) -> None:
    """A gradient penalty needs this."""
    operands = draw_operands(transposed, 2, 2, 3, 4, 3)
    assert torch.autograd.gradcheck(lambda *inputs: ours(*inputs, 1, 1), operands)
    assert torch.autograd.gradgradcheck(lambda *inputs: ours(*inputs, 1, 1), operands)


def test_a_transposed_convolution_of_one_pixel_equals_that_of_torch() -> None:
    _, weight, bias = draw_operands(True, 2, 3, 5, 1, 4)
    x = torch.randn(2, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    actual, expected = convolve_transposed(x, weight, bias), F.conv_transpose2d(x, weight, bias)
    torch.testing.assert_close(actual, expected)
    for found, truth in zip(
        torch.autograd.grad(actual.square().sum(), [x, weight, bias]),
        torch.autograd.grad(expected.square().sum(), [x, weight, bias]),
        strict=True,
    ):
        torch.testing.assert_close(found, truth)


@pytest.mark.parametrize(("ours", "torchs", "transposed"), PAIRS)
@pytest.mark.parametrize(("inputs", "as_product"), [(128, False), (129, True)])
def test_only_wide_windows_are_multiplied(ours, torchs, transposed, inputs, as_product) -> None:
    """`inputs` of the convolution of which the transposed one is the way back, 4x4 each."""
    channels = (2, inputs) if transposed else (inputs, 2)
    x, weight, _ = draw_operands(transposed, 1, *channels, 4, 4)
    result = ours(x, weight, None, 2, 1)
    assert (type(result.grad_fn).__name__ == "_ConvolutionBackward") is as_product


def test_a_frozen_weight_has_no_gradient() -> None:
    x = torch.randn(2, 256, 4, 4, requires_grad=True)
    weight = torch.randn(8, 256, 4, 4)
    assert type(convolve(x, weight, None, 2, 1).grad_fn).__name__ == "ConvolutionBackward0"


@pytest.mark.usefixtures("by_winograd")
@given(
    batch=st.integers(1, 5), c_in=st.integers(1, 4), c_out=st.integers(1, 4),
    height=st.sampled_from([4, 8, 12]), width=st.sampled_from([4, 8, 12]), biased=st.booleans(),
)  # fmt: skip
def test_winograds_way_gives_the_same_result_and_gradients(
    batch, c_in, c_out, height, width, biased: bool
) -> None:
    rng = torch.Generator().manual_seed(0)
    shapes = [(batch, c_in, height, width), (c_out, c_in, 3, 3), (c_out,)]
    inputs = [
        torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True)
        for shape in shapes[: 2 + biased]
    ]
    x, weight, bias = (*inputs, None)[:3]
    actual, expected = convolve(x, weight, bias, 1, 1), F.conv2d(x, weight, bias, padding=1)
    assert not torch.equal(actual, expected)  # rounding
    assert type(actual.grad_fn).__name__ == "_ConvolutionBackward"
    torch.testing.assert_close(actual, expected)
    assert_same_gradients(actual, expected, inputs)


@pytest.mark.usefixtures("by_winograd")
def test_winograds_way_has_gradients_in_a_batch() -> None:
    rng = torch.Generator().manual_seed(0)
    x, weight, directions = (
        torch.randn(shape, generator=rng, dtype=torch.float64)
        for shape in ((2, 3, 4, 4), (5, 3, 3, 3), (7, 2, 5, 4, 4))
    )
    inputs = [x.requires_grad_(), weight.requires_grad_()]
    result = convolve(*inputs, None, 1, 1)
    batched = torch.autograd.grad(
        result, inputs, directions, is_grads_batched=True, retain_graph=True
    )
    singly = [torch.autograd.grad(result, inputs, d, retain_graph=True) for d in directions]
    for found, expected in zip(batched, zip(*singly, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.usefixtures("by_winograd")
def test_winograds_way_takes_no_images() -> None:
    x, weight = torch.randn(0, 3, 4, 4).requires_grad_(), torch.randn(5, 3, 3, 3).requires_grad_()
    result = convolve(x, weight, None, 1, 1)
    assert result.shape == (0, 5, 4, 4)
    result.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()


@pytest.mark.usefixtures("by_winograd")
def test_winograds_way_can_be_differentiated_twice() -> None:
    operands = draw_operands(False, 1, 2, 2, 4, 3)
    x = operands[0].detach()[..., :4].requires_grad_()
    assert torch.autograd.gradgradcheck(lambda *inputs: convolve(*inputs, 1, 1), (x, *operands[1:]))


@pytest.mark.usefixtures("by_winograd")
def test_winograds_result_can_be_changed_in_place() -> None:
    x, weight, _ = draw_operands(False, 2, 3, 5, 4, 3)
    x = x.detach()[..., :4].requires_grad_()
    result = F.relu(convolve(x, weight, None, 1, 1), inplace=True)
    assert result.is_contiguous(memory_format=torch.channels_last)
    expected = F.relu(F.conv2d(x, weight, padding=1))
    torch.testing.assert_close(
        torch.autograd.grad(result.sum(), [x, weight]),
        torch.autograd.grad(expected.sum(), [x, weight]),
    )


def test_rounding_errors_of_winograds_way_are_small() -> None:
    """Seven times those of the direct sum, relative to the largest value."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4, 128, 16, 16, generator=rng)
    weight = torch.randn(128, 128, 3, 3, generator=rng)
    grad = torch.randn(4, 128, 16, 16, generator=rng)

    def error(found: Tensor, truth: Tensor) -> float:
        return float((found - truth).abs().max() / truth.abs().max())

    exact = F.conv2d(x.double(), weight.double(), padding=1)
    assert 0 < error(winograd.convolve3x3(x, weight), exact) < 2e-5
    exact = torch.nn.grad.conv2d_weight(x.double(), weight.shape, grad.double(), padding=1)
    assert 0 < error(winograd.gradient_of_weight3x3(x, grad), exact) < 2e-5


@pytest.mark.parametrize(
    ("channels", "side", "ours"), [(128, 16, True), (127, 16, False), (128, 12, False)]
)
def test_only_large_convolutions_are_transformed(channels: int, side: int, ours: bool) -> None:
    x, weight = torch.randn(1, channels, side, side), torch.randn(channels, channels, 3, 3)
    direct = F.conv2d(x, weight, padding=1)
    assert torch.equal(convolve(x, weight, None, 1, 1), direct) is not ours


def test_sides_that_four_does_not_divide_are_not_transformed() -> None:
    x, weight = torch.randn(1, 128, 18, 18), torch.randn(128, 128, 3, 3)
    assert torch.equal(convolve(x, weight, None, 1, 1), F.conv2d(x, weight, padding=1))


def test_bfloat16_is_left_to_torch() -> None:
    x, weight = torch.randn(1, 128, 16, 16), torch.randn(128, 128, 3, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        result = convolve(x, weight, None, 1, 1)
    assert result.dtype == torch.bfloat16
    assert type(result.grad_fn).__name__ != "_ConvolutionBackward"


@pytest.mark.parametrize(("batch", "by_winograd"), [(63, False), (64, True)])
def test_many_small_maps_are_in_winograds_way_in_inference_only(
    batch: int, by_winograd: bool
) -> None:
    """A training's bits must not depend on how many images a process has."""
    x = torch.randn(batch, 128, 8, 8).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(128, 128, 3, 3) / 34
    expected = F.conv2d(x, weight, padding=1)
    with torch.no_grad():
        assert torch.equal(convolve(x, weight, None, 1, 1), expected)
    with torch.inference_mode():
        result = convolve(x, weight, None, 1, 1)
    assert torch.equal(result, expected) is not by_winograd
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)
