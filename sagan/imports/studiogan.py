"""PyTorch-StudioGAN (Kang et al. 2023): the `resnet` backbone with cBN or no labels, and PD.

Its batch norms add 1e-4 to the variance, class gains are 1 + W, both tables are spectrally
normalized, and D's in-place ReLU also rectifies the skips. Class tables are linear layers; until
January 2022 they were embeddings, `embed0` and `embed1`.
"""

from sagan.imports import residual
from sagan.imports.peer import Facts, NetworkName, Peer
from sagan.imports.tensors import Attention, Norm, Tensors

_NAMES = residual.BlockNames("conv2d1", "conv2d2", "conv2d0")


def _role(tensors: Tensors) -> NetworkName | None:
    if tensors.has("linear0.") and tensors.has("blocks.0.0.conv2d0."):
        return "generator"
    if tensors.has("linear1.") and tensors.has("blocks.0.0.conv2d0."):
        return "discriminator"
    return None


def _generator(tensors: Tensors, facts: Facts) -> residual.Converted:
    blocks, attention = _blocks(tensors)
    eps = facts.norm_eps
    parts = residual.GeneratorParts(
        linear=tensors.layer("linear0", 2),
        blocks=[
            _NAMES.generator_block(
                tensors, b, _norm(tensors, f"{b}.bn1", eps), _norm(tensors, f"{b}.bn2", eps)
            )
            for b in blocks
        ],
        norm=tensors.norm("bn4", eps),
        to_rgb=tensors.layer("conv2d5"),
        attention=attention,
    )
    return residual.convert_generator(parts, tensors.origin)


def _discriminator(tensors: Tensors, facts: Facts) -> residual.Converted:
    blocks, attention = _blocks(tensors)
    parts = residual.DiscriminatorParts(
        blocks=[_NAMES.discriminator_block(tensors, block) for block in blocks],
        linear=tensors.layer("linear1", 2),
        embedding=tensors.layer("embedding", 2) if tensors.has("embedding.") else None,
        attention=attention,
    )
    return residual.convert_discriminator(parts, tensors.origin)


def _blocks(tensors: Tensors) -> tuple[list[str], dict[int, Attention]]:
    """Return the names of the blocks, and the attention by the index of the block before it."""
    blocks: list[str] = []
    attention = {}
    for i in range(tensors.count(lambda i: f"blocks.{i}.")):
        place = f"blocks.{i}.0"
        if not blocks or not tensors.has(f"{place}.conv1x1_theta."):
            blocks.append(place)
        elif len(blocks) - 1 not in attention:
            attention[len(blocks) - 1] = Attention(
                query=tensors.layer(f"{place}.conv1x1_theta"),
                key=tensors.layer(f"{place}.conv1x1_phi"),
                value=tensors.layer(f"{place}.conv1x1_g"),
                output=tensors.layer(f"{place}.conv1x1_attn"),
                gamma=tensors.gamma(f"{place}.sigma"),
            )
    return blocks, attention


def _norm(tensors: Tensors, name: str, eps: float) -> Norm:
    if tensors.has(f"{name}.gain."):
        # Linear layers from one-hot labels: weights (C, classes).
        gain, bias = (tensors.layer(f"{name}.{kind}", 2).folded() for kind in ("gain", "bias"))
        return tensors.conditional_norm(f"{name}.bn", gain.weight.T, bias.weight.T, eps)
    if tensors.has(f"{name}.embed0."):
        gain, bias = (tensors.layer(f"{name}.{kind}", 2).folded() for kind in ("embed0", "embed1"))
        return tensors.conditional_norm(f"{name}.bn", gain.weight, bias.weight, eps)
    return tensors.norm(name, eps)


PEER = Peer(
    title="PyTorch-StudioGAN",
    url="https://github.com/POSTECH-CVLab/PyTorch-StudioGAN",
    role=_role,
    generator=_generator,
    discriminator=_discriminator,
    facts=lambda tensors, text: Facts(norm_eps=1e-4, rectified_skip=True),
    presets={32: "sagan-32", 64: "sagan-64", 128: "sagan-128-studiogan", 256: "sagan-256"},
    settings={"spectral_norm_eps": 1e-6},
    open_facts=("norm_eps", "rectified_skip"),
)
