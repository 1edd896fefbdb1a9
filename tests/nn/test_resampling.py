"""One convolution at the lower resolution is the two operations that it stands for."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sagan.nn.resampling import convolve_downsample, upsample_convolve


def two_step_up(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)


def two_step_down(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)


PAIRS = [(upsample_convolve, two_step_up), (convolve_downsample, two_step_down)]


@pytest.mark.parametrize(("one", "two"), PAIRS)
@given(
    batch=st.integers(1, 3), c_in=st.integers(1, 5), c_out=st.integers(1, 5),
    height=st.integers(1, 5), width=st.integers(1, 5), biased=st.booleans(),
)  # fmt: skip
def test_result_and_gradients_are_those_of_the_two_steps(
    one, two, batch: int, c_in: int, c_out: int, height: int, width: int, biased: bool
) -> None:
    source = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source, dtype=torch.float64, requires_grad=True)

    x, weight = draw(batch, c_in, 2 * height, 2 * width), draw(c_out, c_in, 3, 3)
    bias = draw(c_out) if biased else None
    inputs = [tensor for tensor in (x, weight, bias) if tensor is not None]
    actual, expected = one(x, weight, bias), two(x, weight, bias)
    torch.testing.assert_close(actual, expected)
    upstream = torch.randn_like(expected)
    for found, wanted in zip(
        torch.autograd.grad(actual, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_the_result_can_be_differentiated_twice(one, two) -> None:
    """A gradient penalty does."""
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, w: one(x, w, None), (x, weight))


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_in_bfloat16_it_is_as_close_to_the_truth_as_the_two_steps(one, two) -> None:
    x, weight = torch.randn(4, 32, 8, 8), torch.randn(32, 32, 3, 3) / 17
    truth = two(x.double(), weight.double(), None)

    def error(function) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            return float((function(x, weight, None).double() - truth).pow(2).mean().sqrt())

    assert error(one) < 1.2 * error(two)


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_channels_last_stays_channels_last(one, two) -> None:
    x = torch.randn(2, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    y = one(x, torch.randn(8, 8, 3, 3), None)
    assert y.is_contiguous(memory_format=torch.channels_last)
