"""`sagan export`: the ending of a file's name decides its format."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from sagan.errors import SaganError
from sagan.exporting.program import NetworkProgram, trace_network
from sagan.model import Model, export_model
from sagan.runtime.extras import ONNX, report_missing_library
from sagan.storage.files import check_writable, write_bytes
from sagan.types import Float32Array


@dataclass(frozen=True)
class NetworkFormat:
    """A format for one network.

    Attributes:
        title: its name, for people.
        content: the bytes of a file, from a network and the file's metadata.
        run: what such a file computes from inputs, by name.
    """

    title: str
    content: Callable[[NetworkProgram, Mapping[str, str]], bytes]
    run: Callable[[bytes, Mapping[str, Tensor]], Sequence[Float32Array]]


def export(
    model: Model,
    out: Path,
    card: str = "",
    half: bool = False,
    discriminator: bool = False,
    maps: bool = False,
) -> Iterator[str]:
    """Write a model, or one of its networks, in the format that the file's name ends in.

    Args:
        model: the model.
        out: NAME.safetensors for a model file, which has both networks and can be trained
            further; NAME.onnx or NAME.pt2 for one network that other programs run.
        card: a model card, in Markdown; by default the model's own.
        half: store kernels and matrices as float16. Networks still compute in float32.
        discriminator: write the discriminator, not the (averaged) generator.
        maps: the network also computes its attention maps.

    Yields:
        Lines on what was written.

    Raises:
        SaganError: the file's name has another ending, it cannot be written, a library is missing,
            the model is damaged, or its weights are too large for float16.
    """
    if out.suffix == ".safetensors":
        if discriminator or maps:
            raise SaganError(
                f"'{out}' would be a model file, which has both networks and no maps: call it "
                "NAME.onnx or NAME.pt2, or leave out --discriminator and --maps"
            )
        export_model(model, out, card, half)
        yield f"wrote {out}"
        return
    kind = _network_format(out)
    check_writable(out)
    traced = trace_network(model, discriminator, maps, half_from=0 if half else None)
    metadata = {"network": traced.network, **replace(model, card=card or model.card).metadata()}
    content = kind.content(traced, metadata)
    difference = max(differences(kind.run, content, traced).values())
    write_bytes(out, content)
    yield f"wrote {out}: the {traced.network} as {kind.title}, {len(content) / 1e6:.1f} MB"
    yield f"{', '.join(traced.inputs)} -> {', '.join(traced.outputs)}"
    yield f"run from the file, it differs from the model by at most {difference:.1g}"


def _network_format(out: Path) -> NetworkFormat:
    if out.suffix == ".onnx":
        with report_missing_library(ONNX):
            from sagan.exporting.onnx_file import OPSET, onnx_content, run_onnx
        return NetworkFormat(f"ONNX (opset {OPSET})", onnx_content, run_onnx)
    if out.suffix == ".pt2":
        from sagan.exporting.pt2_file import pt2_content, run_pt2

        return NetworkFormat("a program of torch.export", pt2_content, run_pt2)
    raise SaganError(
        f"'{out}' does not end in .safetensors, .onnx or .pt2: its ending decides the format"
    )


def differences(
    run: Callable[[bytes, Mapping[str, Tensor]], Sequence[Float32Array]],
    content: bytes,
    traced: NetworkProgram,
) -> dict[str, float]:
    """Return how far each output of a file is from the network's, at most, by name.

    Args:
        run: computes a file's outputs from its content and inputs.
        content: the file's.
        traced: the network that the file was made from.
    """
    outputs = zip(traced.outputs.items(), run(content, traced.inputs), strict=True)
    return {
        name: float(np.abs(output - expected.numpy()).max()) for (name, expected), output in outputs
    }
