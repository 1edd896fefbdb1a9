"""ONNX files, for onnxruntime in any language, browsers included. The extra `onnx` makes them.

The graph computes what `sagan.exporting.program` says. A generator's has one more input,
`truncation` (), which scales the latents. It is 1 unless it is given. (In onnxruntime-web, which
has no optional inputs, scale the latents themselves.)
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import onnxscript  # noqa: F401 -- torch needs it: a missing library is reported at this import
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from sagan._version import __version__
from sagan.exporting.program import NetworkProgram
from sagan.types import Float32Array

OPSET = 18  # the oldest that torch's exporter writes
BATCH = "batch"  # the name of the dimension that may have any size
TRUNCATION = "truncation"


def onnx_content(traced: NetworkProgram, metadata: Mapping[str, str]) -> bytes:
    """Return an ONNX file: the same bytes each time for the same versions of libraries.

    Args:
        traced: the network.
        metadata: what the file says of itself, as text or JSON.
    """
    exported = torch.onnx.export(
        traced.program, opset_version=OPSET, output_names=list(traced.outputs), verbose=False
    )
    assert exported is not None
    model = exported.model_proto
    _remove_traces(model)
    _rename_weights(model.graph)
    _name_batch(model.graph)
    if "latents" in traced.inputs:
        _add_truncation(model.graph)
    _describe(model, traced, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def run_onnx(content: bytes, inputs: Mapping[str, Tensor]) -> Sequence[Float32Array]:
    """Return what onnxruntime computes on the CPU from an ONNX file's content."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # no warning that an input, truncation, has a default
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    outputs: Sequence[Float32Array] = session.run(
        None, {name: value.numpy() for name, value in inputs.items()}
    )
    return outputs


def _remove_traces(model: onnx.ModelProto) -> None:
    """Remove torch's notes on the code that made each node: they name files of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        part.ClearField("doc_string")


def _rename_weights(graph: onnx.GraphProto) -> None:
    """Give weights that are stored in float16 the names that they have in a model file."""

    def renamed(name: str) -> str:
        return name.replace(".parametrizations.weight.original", ".weight")

    for weight in graph.initializer:
        weight.name = renamed(weight.name)
    for node in graph.node:
        node.input[:] = map(renamed, node.input)


def _name_batch(graph: onnx.GraphProto) -> None:
    """Give the open dimension a name, where torch has a symbol such as s48."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = BATCH


def _add_truncation(graph: onnx.GraphProto) -> None:
    """Add an input that scales the latents. An initial value makes it optional."""
    for node in graph.node:
        node.input[:] = ["truncated" if name == "latents" else name for name in node.input]
    scale = helper.make_node("Mul", ["latents", TRUNCATION], ["truncated"], "node_truncated")
    graph.node.insert(0, scale)
    graph.input.append(helper.make_tensor_value_info(TRUNCATION, onnx.TensorProto.FLOAT, []))
    graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), TRUNCATION))


def _describe(model: onnx.ModelProto, traced: NetworkProgram, metadata: Mapping[str, str]) -> None:
    """Say what the file is, and what its inputs and outputs mean."""
    model.producer_name, model.producer_version = "sagan", __version__
    model.graph.name = traced.network
    helper.set_model_props(model, dict(metadata))
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = traced.meaning(value.name)
