"""MMGeneration (OpenMMLab): `SAGANGenerator` and `ProjDiscriminator`.

Its images are BGR. Class gains are 1 + W. Batch norm adds 1e-4 to the variance, but 1e-5 in the
run with BigGAN's schedule, the one without spectral normalization of the class tables. Some runs
have an in-place ReLU, which rectifies D's skips. A checkpoint has its configuration as text.
"""

import re

from sagan.errors import SaganError
from sagan.imports import residual
from sagan.imports.peer import Facts, NetworkName, Peer, read_norm_eps
from sagan.imports.tensors import Attention, Norm, Tensors

_NAMES = residual.BlockNames("conv_1.conv", "conv_2.conv", "shortcut.conv")
_SIXTY_FOUR = 5  # blocks of D at 64 pixels


def _role(tensors: Tensors) -> NetworkName | None:
    if tensors.has("noise2feat.") and tensors.has("conv_blocks.0.conv_1."):
        return "generator"
    if tensors.has("from_rgb.conv_1.") and tensors.has("decision."):
        return "discriminator"
    return None


def _facts(tensors: Tensors, text: str) -> Facts:
    """Return the facts, from the configuration where the checkpoint has it."""
    initial = re.search(r"init_cfg=dict\(type='([\w-]+)'", text)
    if initial and initial[1].lower() not in ("studio", "biggan"):
        raise SaganError(
            f"'{tensors.origin}' was trained with init_cfg type {initial[1]!r}, where class gains "
            "are not 1 + W: it cannot be imported"
        )
    plain_tables = "conv_blocks.0.norm_1.weight_embedding.weight" in tensors
    default = "1e-5" if plain_tables and "noise2feat.weight_orig" in tensors else "1e-4"
    given = re.search(r"\bnorm_eps=([0-9.]+(?:e-?[0-9]+)?)", text)
    eps = given[1] if given else default
    norm_eps = read_norm_eps(eps)
    if norm_eps is None:
        raise SaganError(
            f"'{tensors.origin}' has norm_eps={eps[:20]} in its configuration, where a number such "
            "as 1e-5 belongs: the file is damaged"
        )
    return Facts(
        norm_eps=norm_eps,
        rectified_skip="inplace=True" in text,
        channels="bgr",
    )


def _generator(tensors: Tensors, facts: Facts) -> residual.Converted:
    blocks, attention = _blocks(tensors, [])
    eps = facts.norm_eps
    to_rgb = tensors.layer("to_rgb.conv")
    parts = residual.GeneratorParts(
        linear=tensors.layer("noise2feat", 2),
        blocks=[
            _NAMES.generator_block(
                tensors, b, _norm(tensors, f"{b}.norm_1", eps), _norm(tensors, f"{b}.norm_2", eps)
            )
            for b in blocks
        ],
        norm=tensors.norm("to_rgb.bn", eps),
        to_rgb=to_rgb.with_outputs_reversed() if facts.channels == "bgr" else to_rgb,
        attention=attention,
    )
    return residual.convert_generator(parts, tensors.origin)


def _discriminator(tensors: Tensors, facts: Facts) -> residual.Converted:
    names, attention = _blocks(tensors, ["from_rgb"])
    if len(names) == _SIXTY_FOUR:
        raise SaganError(
            f"'{tensors.origin}': the discriminator for 64 pixels ends at 2 x 2, and ours at "
            "4 x 4: import the generator without it"
        )
    blocks = [_NAMES.discriminator_block(tensors, name) for name in names]
    first = blocks[0]
    if facts.channels == "bgr" and first.skip is not None:
        blocks[0] = first._replace(
            conv1=first.conv1.with_inputs_reversed(), skip=first.skip.with_inputs_reversed()
        )
    parts = residual.DiscriminatorParts(
        blocks=blocks,
        linear=tensors.layer("decision", 2),
        embedding=tensors.layer("proj_y", 2) if tensors.has("proj_y.") else None,
        attention=attention,
    )
    return residual.convert_discriminator(parts, tensors.origin)


def _blocks(tensors: Tensors, blocks: list[str]) -> tuple[list[str], dict[int, Attention]]:
    """Return the names of the blocks, after those given, and attention by the block before it."""
    attention: dict[int, Attention] = {}
    for i in range(tensors.count(lambda i: f"conv_blocks.{i}.")):
        place = f"conv_blocks.{i}"
        if not blocks or not tensors.has(f"{place}.theta."):
            blocks.append(place)
        elif len(blocks) - 1 not in attention:
            attention[len(blocks) - 1] = tensors.attention(place, "{}.conv")
    return blocks, attention


def _norm(tensors: Tensors, name: str, eps: float) -> Norm:
    if not tensors.has(f"{name}.weight_embedding."):
        return tensors.norm(f"{name}.norm", eps)
    gain, bias = (
        tensors.layer(f"{name}.{kind}_embedding", 2).folded().weight for kind in ("weight", "bias")
    )
    return tensors.conditional_norm(f"{name}.norm", gain, bias, eps)


PEER = Peer(
    title="MMGeneration",
    url="https://github.com/open-mmlab/mmgeneration",
    role=_role,
    generator=_generator,
    discriminator=_discriminator,
    facts=_facts,
    presets={32: "sagan-32", 128: "sagan-128-long-batch"},
    settings={"spectral_norm_eps": 1e-8},
    open_facts=("norm_eps", "rectified_skip", "channels"),
    ignored=(".sv0",),
    counts_d_steps=True,
)
