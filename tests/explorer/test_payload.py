"""The page receives the model's own attention."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from sagan.explorer.payload import Payload, quantize


def dequantized(levels: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return scale[:, None].astype(float) * (levels / 255.0) ** 2


@given(seed=st.integers(0, 2**31), sharpness=st.floats(0, 30), keys=st.sampled_from([1, 4, 64]))
def test_a_quantized_weight_is_within_the_promised_error(
    seed: int, sharpness: float, keys: int
) -> None:
    logits = sharpness * np.random.default_rng(seed).standard_normal((16, keys))
    attention = np.exp(logits - logits.max(axis=1, keepdims=True))
    attention = (attention / attention.sum(axis=1, keepdims=True)).astype(np.float32)
    levels, scale = quantize(attention)
    assert levels.dtype == np.uint8
    assert scale.dtype == np.float32
    error = np.abs(dequantized(levels, scale) - attention)
    bound = scale[:, None] * (levels / 255 + 0.5 / 255) / 255
    assert (error <= bound * 1.001 + 1e-7).all()
    assert (error <= 0.0041 * scale[:, None]).all()
    # The largest weight of a row is exact.
    assert (dequantized(levels, scale).max(axis=1) == scale).all()


def test_a_payload_is_a_safetensors_file_that_typed_arrays_can_view() -> None:
    attention = np.full((16, 4), 0.25, dtype=np.float32)
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    payload = Payload(image, {"generator.attention_4": attention}, np.float32([1.5, -2]), label=1)
    data = payload.encode()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    assert header["__metadata__"] == {"label": "1"}
    for entry in header.values():
        if "dtype" in entry:
            assert entry["dtype"] in ("U8", "I32", "F32")
            # A typed array must start at a multiple of its element's width.
            width = 1 if entry["dtype"] == "U8" else 4
            assert (8 + length + entry["data_offsets"][0]) % width == 0
    tensors = load(data)
    assert np.array_equal(tensors["image"], image)
    assert tensors["scores"].tolist() == [1.5, -2]
    assert "without_attention" not in tensors
    assert tensors["highlights/generator.attention_4"].shape == (4,)


@pytest.mark.parametrize("shape", [(16, 4), (256, 64)])
def test_equal_weights_stay_equal(shape: tuple[int, int]) -> None:
    levels, scale = quantize(np.full(shape, 1 / shape[1], dtype=np.float32))
    assert (levels == 255).all()
    assert (scale == np.float32(1 / shape[1])).all()
