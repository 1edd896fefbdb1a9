"""Weights of 8 bits in an ONNX file, half the size of float16."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from sagan.types import Float32Array

# Entries. Smaller kernels hardly count, and rounding those before an attention layer moves maps.
LARGE = 2**14
_LARGEST = 127


def quantize_weights(content: bytes, layers: str) -> bytes:
    """Store the large float16 weights of some layers as int8, with a scale per output channel.

    The graph still computes in float32: runtimes widen weights once, when they load the file.

    Args:
        content: an ONNX file whose weights are stored in float16.
        layers: the prefix of the weights' names.

    Returns:
        The new file's content; without such weights, the same bytes.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    scales = {}
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        large = values.dtype == np.float16 and values.size >= LARGE
        if large and weight.name.startswith(layers):
            steps, scales[weight.name] = _quantized(values)
            weight.CopyFrom(numpy_helper.from_array(steps, weight.name))
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        graph.node.append(node)
        if node.op_type == "Cast" and node.input[0] in scales:
            _append_scale(graph, graph.node[-1], scales[node.input[0]])
    return model.SerializeToString(deterministic=True)


def _quantized(values: npt.NDArray[np.float16]) -> tuple[npt.NDArray[np.int8], Float32Array]:
    """Split weights (O, ...) into steps, int8 (O, ...), and their scale, float32 (O, 1, ...)."""
    wide = values.astype(np.float32)
    largest = np.abs(wide).max(axis=tuple(range(1, wide.ndim)), keepdims=True)
    scale = np.where(largest > 0, largest / np.float32(_LARGEST), np.float32(1))
    return np.round(wide / scale).astype(np.int8), scale


def _append_scale(graph: onnx.GraphProto, cast: onnx.NodeProto, scale: Float32Array) -> None:
    """Multiply what a Cast node widens, which then has to have another name."""
    weight, widened = cast.input[0], cast.output[0]
    cast.output[0] = f"{weight}_steps"
    graph.initializer.append(numpy_helper.from_array(scale, f"{weight}_scale"))
    scaled = [cast.output[0], f"{weight}_scale"]
    graph.node.append(helper.make_node("Mul", scaled, [widened], f"node_{weight}_scaled"))
