"""Files of torch.export (.pt2), for torch without this package, in Python or C++."""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO

import torch
from torch import Tensor
from torch.fx import GraphModule

from sagan.exporting.program import NetworkProgram
from sagan.types import Float32Array

ABOUT = "about.json"  # its name in the archive: torch.export.load(..., extra_files=...)


def pt2_content(traced: NetworkProgram, metadata: Mapping[str, str]) -> bytes:
    """Return a .pt2 file: the same bytes each time for the same version of torch.

    The archive also contains `about.json`, with the metadata and the names of inputs and outputs.

    Args:
        traced: the network; its program loses what is not stored.
        metadata: what the file says of itself, as text or JSON.
    """
    program = traced.program
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule):  # what runs without autocast has a graph of its own
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # it names files of this machine
    program.example_inputs = None
    names = {"inputs": list(traced.inputs), "outputs": list(traced.outputs)}
    about = json.dumps({**metadata, **names}, indent=2)
    archive = BytesIO()
    torch.export.save(program, archive, extra_files={ABOUT: about})
    return archive.getvalue()


def run_pt2(content: bytes, inputs: Mapping[str, Tensor]) -> Sequence[Float32Array]:
    """Return what torch computes from a .pt2 file's content."""
    function = torch.export.load(BytesIO(content)).module()
    with torch.no_grad():
        return [output.numpy() for output in function(*inputs.values()).values()]
