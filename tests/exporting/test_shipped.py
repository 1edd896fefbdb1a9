"""The shipped models compute in onnxruntime, and from .pt2 files, what they do in torch."""

import functools
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sagan.explorer.renderer import scaled_gammas
from sagan.exporting import pt2_file
from sagan.exporting.program import NetworkProgram, trace_network
from sagan.model import open_model, shipped_models
from sagan.nn.attention import recorded_maps
from sagan.nn.base import DiscriminatorBase, GeneratorBase

onnx_file = pytest.importorskip("sagan.exporting.onnx_file")

DOCS = Path(__file__).parents[2] / "docs"
BATCHES = (1, 2, 7)
TOLERANCE = 1e-4


# Of a network of a shipped model; each takes seconds.


@functools.cache
def traced_network(name: str, discriminator: bool) -> NetworkProgram:
    return trace_network(open_model(name), discriminator, maps=True)


@functools.cache
def onnx_content(name: str, discriminator: bool) -> bytes:
    traced = traced_network(name, discriminator)
    return onnx_file.onnx_content(traced, open_model(name).metadata())


@functools.cache
def pt2_content(name: str, discriminator: bool) -> bytes:
    return pt2_file.pt2_content(traced_network(name, discriminator), open_model(name).metadata())


def inputs_like(traced: NetworkProgram, num: int) -> dict[str, Tensor]:
    """Inputs for `num` images."""
    rng = torch.Generator().manual_seed(num)
    made = {"gamma_scale": torch.tensor(0.5), "labels": torch.arange(num) % 2}
    for name in ("latents", "images"):
        if name in traced.inputs:
            shape = (num, *traced.inputs[name].shape[1:])
            made[name] = torch.tanh(torch.randn(shape, generator=rng))
    return {name: made[name] for name in traced.inputs}


def generated(generator: GeneratorBase, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    layers = generator.attention_layers()
    with scaled_gammas(generator, float(inputs["gamma_scale"])), recorded_maps(layers) as maps:
        return {"images": generator(inputs["latents"], inputs.get("labels")), **maps}


def judged(discriminator: DiscriminatorBase, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    with recorded_maps(discriminator.attention_layers()) as maps:
        logits = discriminator(inputs["images"], inputs.get("labels"))
        features = discriminator.embed(inputs["images"])
    return {
        "logits": logits.mean(1) if logits.ndim == 2 else logits,  # over the patches of an image
        "features": features,
        "class_logits": discriminator.class_logits(features),
        **maps,
    }


def batches(nightly: bool) -> tuple[int, ...]:
    return (*BATCHES, 64) if nightly else BATCHES


@torch.no_grad()
def computed_by_torch(
    name: str, discriminator: bool, inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What the network itself computes, without having been traced."""
    model = open_model(name)
    if discriminator:
        return judged(model.discriminator(), inputs)
    return generated(model.generator(), inputs)


each_network = pytest.mark.parametrize(
    "discriminator", [False, True], ids=["generator", "discriminator"]
)
each_model = pytest.mark.parametrize("name", shipped_models())


@each_network
@each_model
def test_onnxruntime_computes_what_a_shipped_network_does(
    name: str, discriminator: bool, nightly: bool
) -> None:
    traced, content = traced_network(name, discriminator), onnx_content(name, discriminator)
    for num in batches(nightly):
        inputs = inputs_like(traced, num)
        expected = computed_by_torch(name, discriminator, inputs)
        for key, output in zip(traced.outputs, onnx_file.run_onnx(content, inputs), strict=True):
            np.testing.assert_allclose(output, expected[key], atol=TOLERANCE, err_msg=key)


@each_network
@each_model
def test_a_pt2_file_computes_what_a_shipped_network_does(
    name: str, discriminator: bool, nightly: bool
) -> None:
    traced = traced_network(name, discriminator)
    function = torch.export.load(BytesIO(pt2_content(name, discriminator))).module()
    for num in batches(nightly):
        inputs = inputs_like(traced, num)
        expected = computed_by_torch(name, discriminator, inputs)
        with torch.no_grad():
            outputs = function(*inputs.values())
        assert outputs.keys() == traced.outputs.keys()
        for key, output in outputs.items():
            np.testing.assert_allclose(output, expected[key], atol=TOLERANCE, err_msg=key)


def test_the_examples_in_the_docs_run_and_draw_what_sample_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cats.onnx").write_bytes(onnx_content("cifar10-32", False))
    (tmp_path / "cats.pt2").write_bytes(pt2_content("cifar10-32", False))
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "exporting.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec("\n".join(blocks), names)
    own = open_model("cifar10-32").generator().sample(16, ["cat"] * 16, seed=0)
    assert np.abs(names["pixels"].astype(int) - own).max() <= 1
    with Image.open("cats.png") as drawn:
        assert drawn.size == (16 * 32, 32)
    assert names["attention"].shape == (16, 256, 64)
    assert names["outputs"]["images"].shape == (4, 3, 32, 32)
    assert names["outputs"]["generator.attention_16"].shape == (4, 256, 64)


@each_network
@each_model
def test_no_file_of_a_shipped_network_has_a_path_of_this_machine(
    name: str, discriminator: bool
) -> None:
    for content in (onnx_content(name, discriminator), pt2_content(name, discriminator)):
        assert str(Path(__file__).parents[2]).encode() not in content
        assert b"site-packages" not in content


@each_model
def test_the_sizes_in_the_docs_are_those_of_the_files(name: str) -> None:
    page = (DOCS / "exporting.md").read_text(encoding="utf-8")
    for network in ("generator", "discriminator"):
        (size,) = re.findall(rf"^\| `{name}` \| {network} \| ([\d.]+) MB ", page, re.MULTILINE)
        content = onnx_content(name, network == "discriminator")
        assert abs(float(size) - len(content) / 1e6) < 0.1
