"""An ONNX file computes what the model does, says what it is, and nothing of this machine."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sagan.exporting.program import NetworkProgram, trace_network
from sagan.model import Model
from sagan.nn.inputs import seeded_latents
from sagan.types import Float32Array

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
onnx_file = pytest.importorskip("sagan.exporting.onnx_file")


@pytest.fixture(scope="module")
def content(traced: NetworkProgram, labeled_model: Model) -> bytes:
    return onnx_file.onnx_content(traced, labeled_model.metadata())


def shapes(values: object) -> dict[str, list[int | str]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in values  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("num", [1, 2, 7, 64])
@pytest.mark.parametrize("scale", [1.0, 0.0, 0.3])
def test_onnxruntime_computes_what_torch_does_for_any_batch(
    traced: NetworkProgram, content: bytes, num: int, scale: float
) -> None:
    inputs = {
        "latents": seeded_latents(num, 8, seed=num),
        "labels": torch.arange(num) % 3,
        "gamma_scale": torch.tensor(scale),
    }
    expected = traced.program.module()(*inputs.values())
    for output, name in zip(onnx_file.run_onnx(content, inputs), expected, strict=True):
        np.testing.assert_allclose(output, expected[name], atol=1e-5)


def test_truncation_scales_the_latents_and_may_be_left_out(content: bytes) -> None:
    def images(latents: torch.Tensor, **more: torch.Tensor) -> Float32Array:
        labels, one = torch.tensor([0, 1]), torch.tensor(1.0)
        inputs = {"latents": latents, "labels": labels, "gamma_scale": one, **more}
        return onnx_file.run_onnx(content, inputs)[0]

    latents = seeded_latents(2, 8, seed=0)
    half = torch.tensor(0.5)
    assert (images(latents, truncation=half) == images(half * latents)).all()
    assert (images(latents) == images(latents, truncation=torch.tensor(1.0))).all()
    assert (images(latents) != images(half * latents)).any()


def test_inputs_and_outputs_are_named_and_only_the_batch_is_open(
    content: bytes, judge: bytes
) -> None:
    graph = onnx.load_from_string(content).graph
    assert shapes(graph.input) == {
        "latents": ["batch", 8],
        "labels": ["batch"],
        "gamma_scale": [],
        "truncation": [],
    }
    assert shapes(graph.output) == {
        "images": ["batch", 3, 32, 32],
        "generator.attention_16": ["batch", 256, 64],
    }
    graph = onnx.load_from_string(judge).graph
    assert shapes(graph.input) == {"images": ["batch", 3, 32, 32], "labels": ["batch"]}
    assert shapes(graph.output) == {
        "logits": ["batch"],
        "features": ["batch", 64],
        "class_logits": ["batch", 3],
    }
    for value in (*graph.input, *graph.output):
        assert value.doc_string


def test_the_file_says_what_it_is(content: bytes, labeled_model: Model) -> None:
    model = onnx.load_from_string(content)
    assert {prop.key: prop.value for prop in model.metadata_props} == labeled_model.metadata()
    assert [(used.domain, used.version) for used in model.opset_import] == [("", 18)]
    assert (model.producer_name, model.graph.name) == ("sagan", "generator")


def test_every_weight_is_stored_once_under_its_name_in_a_model_file(
    content: bytes, labeled_model: Model
) -> None:
    graph = onnx.load_from_string(content).graph
    stored = {x.name: tuple(x.dims) for x in graph.initializer}
    parameters = {
        f"generator.{name}": tuple(parameter.shape)
        for name, parameter in labeled_model.generator().named_parameters()
    }
    assert parameters.items() <= stored.items()
    numbers = sum(int(np.prod(shape)) for shape in parameters.values())
    assert sum(int(np.prod(shape)) for shape in stored.values()) < 1.1 * numbers


def test_a_network_stored_in_float16_computes_in_float32(judge: bytes, judge_model: Model) -> None:
    graph = onnx.load_from_string(judge).graph
    kinds = {x.name: x.data_type for x in graph.initializer}
    assert kinds["discriminator.blocks.1.conv2.weight"] == onnx.TensorProto.FLOAT16
    assert kinds["discriminator.blocks.1.conv2.bias"] == onnx.TensorProto.FLOAT
    discriminator = judge_model.discriminator()
    assert len(judge) < 2.5 * sum(x.numel() for x in discriminator.parameters())
    images = 2 * torch.rand(4, 3, 32, 32) - 1
    labels = torch.tensor([0, 1, 2, 0])
    logits = onnx_file.run_onnx(judge, {"images": images, "labels": labels})[0]
    expected = discriminator(images, labels).detach().numpy()
    assert 0 < np.abs(logits - expected).max() < 1e-3 * np.abs(expected).max()


def test_a_file_has_the_same_bytes_each_time_and_no_path_of_this_machine(
    content: bytes, judge: bytes, judge_model: Model
) -> None:
    again = trace_network(judge_model, discriminator=True, half_from=0)
    assert onnx_file.onnx_content(again, {}) == judge
    for each in (content, judge):
        assert str(Path(__file__).parents[2]).encode() not in each
        assert b"site-packages" not in each


def test_a_plain_session_of_onnxruntime_needs_no_option(content: bytes) -> None:
    session = onnxruntime.InferenceSession(content)
    assert [x.name for x in session.get_inputs()] == ["latents", "labels", "gamma_scale"]
    assert [x.name for x in session.get_overridable_initializers()] == ["truncation"]
