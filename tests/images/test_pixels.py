"""Images become a network's tensors and come back unchanged."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sagan.images.pixels import to_float, to_uint8


def test_every_byte_survives_the_conversion_to_float_and_back() -> None:
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    floats = to_float(torch.from_numpy(x))
    assert floats.min() == -1
    assert floats.max() == 1
    assert (to_uint8(floats) == x).all()
    values = floats[0, 0].flatten().double().numpy()
    np.testing.assert_allclose(values, np.arange(256) / 127.5 - 1, atol=1e-7)


def test_pixels_keep_their_place_and_the_input_is_not_changed() -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    before = x.copy()
    floats = to_float(torch.from_numpy(x))
    assert floats.shape == (2, 3, 5, 5)
    assert floats.is_contiguous(memory_format=torch.channels_last)
    assert floats[1, 2, 3, 4].item() == pytest.approx(x[1, 3, 4, 2] / 127.5 - 1, abs=1e-6)
    back = to_uint8(floats)
    assert back.flags.c_contiguous
    assert (back == x).all()
    assert (x == before).all()


@settings(max_examples=50)
@given(value=st.floats(-3, 3, width=32))
def test_to_uint8_rounds_to_the_nearest_byte_and_clamps(value: float) -> None:
    exact = min(max((value + 1) * 127.5, 0), 255)
    byte = to_uint8(torch.full((1, 3, 1, 1), value))[0, 0, 0, 0]
    assert abs(float(byte) - exact) <= 0.5 + 1e-4


def test_to_uint8_does_not_change_its_input_and_accepts_bfloat16() -> None:
    x = torch.linspace(-2, 2, 12).view(1, 3, 2, 2)
    before = x.clone()
    to_uint8(x)
    assert torch.equal(x, before)
    assert np.abs(to_uint8(x.bfloat16()).astype(int) - to_uint8(x).astype(int)).max() <= 1
