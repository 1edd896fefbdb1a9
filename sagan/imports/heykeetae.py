"""heykeetae/Self-Attention-GAN, the popular PyTorch SAGAN: our deconvolution family at 64 pixels.

It normalizes a transposed convolution by the norm of another matrix, (in, out*h*w), than we do.
The two weights differ by a factor, which the batch norm after the layer makes up for. Each of its
forward passes, in evaluation too, first advances u and v.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from sagan.errors import SaganError
from sagan.imports.peer import Facts, NetworkName, Peer
from sagan.imports.residual import Converted, layer_tensors, plain_norm
from sagan.imports.tensors import Layer, Norm, Tensors
from sagan.nn.channels import DCGAN_DISCRIMINATOR, DCGAN_GENERATOR, DCGAN_RESOLUTION
from sagan.nn.spectral_norm import apply_spectral_norm, fold_spectral_norm
from sagan.storage.torch_files import StateDict

_LAYERS = ("l1", "l2", "l3", "l4")


def _role(tensors: Tensors) -> NetworkName | None:
    if not (tensors.has("l1.0.") and tensors.has("last.0.")):
        return None
    return "generator" if tensors.has("l1.1.") else "discriminator"


def _generator(tensors: Tensors, facts: Facts) -> Converted:
    _check_size(tensors)
    layers = [tensors.layer(f"{name}.0") for name in _LAYERS]
    normalized = all(layer.u is not None for layer in layers)
    state: StateDict = {}
    for i, (name, layer) in enumerate(zip(_LAYERS, layers, strict=True)):
        norm = tensors.norm(f"{name}.1", facts.norm_eps)
        own = layer.folded()
        if normalized:
            own_tensors, factor = _normalized(layer)
            norm = _scaled(norm, factor)
            state |= {f"layers.{i}.{key}": tensor for key, tensor in own_tensors.items()}
            if layer.bias is not None:
                state[f"layers.{i}.bias"] = layer.bias * factor
        else:
            state |= layer_tensors(f"layers.{i}", own)
        state |= plain_norm(f"norms.{i}", norm)
    sizes = list(DCGAN_GENERATOR)[2:]
    state |= _attention(tensors, sizes)
    state |= layer_tensors("to_rgb", tensors.layer("last.0").folded())
    settings = {
        "channels_g": layers[-1].weight.shape[1],
        "latent_size": layers[0].weight.shape[0],
        "attention_g": tuple(sizes),
        "spectral_norm_g": normalized,
    }
    return Converted(settings, 0, state)


def _normalized(layer: Layer) -> tuple[StateDict, Tensor]:
    """Return the tensors of our normalized layer, and its weight over that of `layer`, a scalar."""
    c_in, c_out, height, width = layer.weight.shape
    own = nn.ConvTranspose2d(c_in, c_out, (height, width), bias=False)
    own.weight.data = layer.weight
    apply_spectral_norm(own, (nn.ConvTranspose2d,))
    tensors = {name: tensor.detach().clone() for name, tensor in own.state_dict().items()}
    fold_spectral_norm(own)
    theirs = layer.folded().weight
    return tensors, own.weight.detach().norm() / theirs.norm()


def _scaled(norm: Norm, factor: Tensor) -> Norm:
    """Return the batch norm that makes of `factor * x` what `norm` makes of x."""
    variance = norm.variance * factor**2
    spread = torch.sqrt((variance + norm.eps) / (norm.variance + norm.eps))
    return replace(
        norm, mean=norm.mean * factor, variance=variance, gain=norm.gain * spread / factor
    )


def _discriminator(tensors: Tensors, facts: Facts) -> Converted:
    _check_size(tensors)
    layers = [tensors.layer(f"{name}.0") for name in _LAYERS]
    normalized = all(layer.u is not None for layer in layers)
    state: StateDict = {}
    for i, layer in enumerate(layers):
        state |= layer_tensors(f"layers.{i}", layer if normalized else layer.folded())
    sizes = list(DCGAN_DISCRIMINATOR)[2:]
    state |= _attention(tensors, sizes)
    state |= layer_tensors("last", tensors.layer("last.0").folded())
    settings = {
        "channels_d": layers[0].weight.shape[0],
        "attention_d": tuple(sizes),
        "spectral_norm_d": normalized,
    }
    return Converted(settings, 0, state)


def _check_size(tensors: Tensors) -> None:
    if not tensors.has("l4."):
        raise SaganError(
            f"'{tensors.origin}' has three layers instead of four: only networks for "
            f"{DCGAN_RESOLUTION} x {DCGAN_RESOLUTION} pixels can be imported"
        )


def _attention(tensors: Tensors, sizes: list[int]) -> StateDict:
    """Return the tensors of both attention layers, which follow the layers of these sizes."""
    state: StateDict = {}
    for name, size in zip(("attn1", "attn2"), sizes, strict=True):
        place = f"self_attention.{size}"
        for kind in ("query", "key", "value"):
            state |= layer_tensors(f"{place}.{kind}", tensors.layer(f"{name}.{kind}_conv"))
        state[f"{place}.gamma"] = tensors.gamma(f"{name}.gamma")
    return state


PEER = Peer(
    title="heykeetae/Self-Attention-GAN",
    url="https://github.com/heykeetae/Self-Attention-GAN",
    role=_role,
    generator=_generator,
    discriminator=_discriminator,
    facts=lambda tensors, text: Facts(),
    presets={DCGAN_RESOLUTION: "dcgan-64"},
    settings={"family": "dcgan", "resolution": DCGAN_RESOLUTION, "attention_form": "full"},
    open_facts=("norm_eps",),
)
