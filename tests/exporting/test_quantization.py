"""8-bit weights: half the size of float16, and nearly the same numbers."""

from typing import Any

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnx_file = pytest.importorskip("sagan.exporting.onnx_file")
quantization = pytest.importorskip("sagan.exporting.quantization")

LAYERS = "discriminator.blocks.1."


def weights(content: bytes) -> dict[str, Any]:
    graph = onnx.load_from_string(content).graph
    return {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}


def test_each_large_weight_is_within_half_a_step_of_its_channel(judge: bytes) -> None:
    before, after = weights(judge), weights(quantization.quantize_weights(judge, LAYERS))
    changed = [name for name in before if after[name].dtype == np.int8]
    assert {before[name].dtype for name in changed} == {np.dtype(np.float16)}
    large = {n for n, w in before.items() if n.startswith(LAYERS) and w.size >= 2**14}
    assert set(changed) == large != set()
    for name in changed:
        scale = after[f"{name}_scale"]
        assert scale.shape == (len(before[name]), 1, 1, 1)
        assert (np.abs(after[name] * scale - before[name]) <= scale * 0.501).all()
    for name in set(before) - large:
        assert (after[name] == before[name]).all()


def test_the_graph_computes_nearly_the_same(judge: bytes) -> None:
    small = quantization.quantize_weights(judge, LAYERS)
    onnx.checker.check_model(onnx.load_from_string(small), full_check=True)
    assert len(judge) - len(small) > sum(
        0.95 * w.size for w in weights(small).values() if w.dtype == np.int8
    )
    inputs = {"images": torch.rand(7, 3, 32, 32) * 2 - 1, "labels": torch.arange(7) % 2}
    for exact, near in zip(
        onnx_file.run_onnx(judge, inputs), onnx_file.run_onnx(small, inputs), strict=True
    ):
        difference = np.abs(exact - near).max()
        assert 0 < difference < 0.02 * np.abs(exact).max()


def test_a_channel_of_zeros_stays_zero(judge: bytes) -> None:
    model = onnx.load_from_string(judge)
    name = f"{LAYERS}conv1.weight"
    weight = next(w for w in model.graph.initializer if w.name == name)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0] = 0
    weight.CopyFrom(onnx.numpy_helper.from_array(values, name))
    after = weights(quantization.quantize_weights(model.SerializeToString(), LAYERS))
    assert (after[name][0] == 0).all()
    assert np.isfinite(after[f"{name}_scale"]).all()


def test_without_such_weights_the_file_stays_as_it_is(judge: bytes) -> None:
    assert quantization.quantize_weights(judge, "discriminator.backbone.") == judge
