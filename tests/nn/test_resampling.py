"""One convolution at the lower resolution equals the two operations that it replaces."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sagan.nn import karatsuba, resampling
from sagan.nn.karatsuba import upsample_convolve3x3
from sagan.nn.precision import resolve_precision
from sagan.nn.resampling import add_upsampled, convolve_downsample, upsample_convolve
from tests.nn.gradients import assert_same_gradients

HAS_BFLOAT16 = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16


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
def test_result_and_gradients_equal_those_of_two_operations(
    one, two, batch: int, c_in: int, c_out: int, height: int, width: int, biased: bool
) -> None:
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64, requires_grad=True)

    x, weight = draw(batch, c_in, 2 * height, 2 * width), draw(c_out, c_in, 3, 3)
    bias = draw(c_out) if biased else None
    inputs = [tensor for tensor in (x, weight, bias) if tensor is not None]
    actual, expected = one(x, weight, bias), two(x, weight, bias)
    torch.testing.assert_close(actual, expected)
    assert_same_gradients(actual, expected, inputs)


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_the_result_can_be_differentiated_twice(one, two) -> None:
    """A gradient penalty needs this."""
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, w: one(x, w, None), (x, weight))


def rounding_once(convolve: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a convolution that rounds only its operands and its result to bfloat16.

    This is what processors do that multiply bfloat16. On others, torch also rounds the partial sums
    of a transposed convolution, which is not the fault of the kernel that it is given.
    """

    def convolved(x: Tensor, weight: Tensor, *rest: Any, **options: Any) -> Tensor:
        rounded = (tensor.bfloat16().double() for tensor in (x, weight))
        return convolve(*rounded, *rest, **options).bfloat16()

    return convolved


@pytest.mark.parametrize(
    "native",
    [
        False,
        pytest.param(
            True, marks=pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no bfloat16")
        ),
    ],
)
@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_one_operation_in_bfloat16_is_as_accurate_as_two(
    one, two, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4, 32, 8, 8, generator=rng)
    weight = torch.randn(32, 32, 3, 3, generator=rng) / 17
    truth = two(x.double(), weight.double(), None)
    if not native:
        for name in ("conv2d", "conv_transpose2d"):
            monkeypatch.setattr(F, name, rounding_once(getattr(F, name)))

    def error(function) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            return float((function(x, weight, None).double() - truth).pow(2).mean().sqrt())

    # Either way an output has 288 products' rounding errors: of the two, equally large, the one
    # that is measured on these 2048 outputs or more exceeds the other by a few percent at most.
    # Kernels that are rounded before they are added up, and once more after, add 14 %.
    assert error(one) < 1.08 * error(two)


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_a_channels_last_input_gives_a_channels_last_output(one, two) -> None:
    x = torch.randn(2, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    y = one(x, torch.randn(8, 8, 3, 3), None)
    assert y.is_contiguous(memory_format=torch.channels_last)


@given(
    batch=st.integers(1, 5), c_in=st.integers(1, 4), c_out=st.integers(1, 4),
    height=st.integers(1, 4), width=st.integers(1, 4), biased=st.booleans(),
    results=st.sampled_from([1, 100, 2**20]),
)  # fmt: skip
def test_karatsubas_way_gives_the_same_result(
    batch, c_in, c_out, height, width, biased: bool, results: int
) -> None:
    """Whether images are computed one at a time, a few, or all together."""
    rng = torch.Generator().manual_seed(0)
    shapes = [(batch, c_in, 2 * height, 2 * width), (c_out, c_in, 3, 3), (c_out,)]
    x, weight, bias = (torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(karatsuba, "RESULTS_AT_A_TIME", results)
        actual = upsample_convolve3x3(x, weight, bias if biased else None)
    torch.testing.assert_close(actual, two_step_up(x, weight, bias if biased else None))


def test_karatsubas_rounding_errors_are_as_small_as_those_of_the_direct_sum() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4, 128, 8, 8, generator=rng)
    weight = torch.randn(64, 128, 3, 3, generator=rng) / 34
    truth = two_step_up(x.double(), weight.double(), None)

    def error(result: Tensor) -> float:
        return float((result - truth).abs().max() / truth.abs().max())

    assert error(upsample_convolve3x3(x, weight)) < 2 * error(two_step_up(x, weight, None)) < 4e-6


@pytest.mark.parametrize(
    ("batch", "c_in", "c_out", "side", "chosen"),
    [
        (16, 128, 64, 8, True),
        (15, 128, 64, 8, False),
        (16, 127, 64, 8, False),
        (16, 128, 63, 8, False),
        (64, 128, 64, 5, False),
    ],
)
def test_only_inference_on_enough_numbers_is_in_karatsubas_way(
    batch: int, c_in: int, c_out: int, side: int, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*operands: Tensor) -> Tensor:
        calls.append(operands)
        return upsample_convolve3x3(*operands)

    monkeypatch.setattr(resampling, "upsample_convolve3x3", counted)
    x, weight = torch.randn(batch, c_in, side, side), torch.randn(c_out, c_in, 3, 3)
    with torch.no_grad():  # as a training draws the images for D, whose bits must stay
        upsample_convolve(x, weight, None)
    assert not calls
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        upsample_convolve(x, weight, None)
    assert not calls
    with torch.inference_mode():
        upsample_convolve(x, weight, None)
    assert bool(calls) is chosen


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_upsampled_map_is_added_in_place(inference: bool, dtype: torch.dtype) -> None:
    y, x = torch.randn(2, 3, 4, 6, dtype=dtype), torch.randn(2, 3, 2, 3, dtype=dtype)
    expected = y + F.interpolate(x, scale_factor=2, mode="nearest")
    with torch.inference_mode(inference):
        result = add_upsampled(y, x)
    assert result is y
    assert torch.equal(y, expected)
