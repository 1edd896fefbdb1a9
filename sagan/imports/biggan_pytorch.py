"""BigGAN-PyTorch (Brock): the SAGAN of scripts/launch_SAGAN_bs128x2_ema.sh.

Its class gains are 1 + W in tables of their own. BigGAN itself shares an embedding between the
tables and gives them parts of the latent, which our layouts do not.
"""

from sagan.errors import SaganError
from sagan.imports import residual
from sagan.imports.peer import Facts, NetworkName, Peer
from sagan.imports.tensors import Attention, Norm, Tensors

_NAMES = residual.BlockNames("conv1", "conv2", "conv_sc")


def _role(tensors: Tensors) -> NetworkName | None:
    if not tensors.has("blocks.0.0.conv1."):
        return None
    if tensors.has("output_layer."):
        return "generator"
    return "discriminator" if tensors.has("embed.") else None


def _generator(tensors: Tensors, facts: Facts) -> residual.Converted:
    if tensors.has("shared."):
        raise SaganError(
            f"'{tensors.origin}' is a BigGAN: its labels go through a shared embedding, which our "
            "networks do not have; only SAGANs can be imported"
        )
    blocks = _blocks(tensors)
    eps = facts.norm_eps
    gain, bias = (tensors.take(f"output_layer.0.{kind}", 1) for kind in ("gain", "bias"))
    parts = residual.GeneratorParts(
        linear=tensors.layer("linear", 2),
        blocks=[
            _NAMES.generator_block(
                tensors, b, _norm(tensors, f"{b}.bn1", eps), _norm(tensors, f"{b}.bn2", eps)
            )
            for b in blocks
        ],
        norm=tensors.norm_with(*_statistics(tensors, "output_layer.0"), gain, bias, eps),
        to_rgb=tensors.layer("output_layer.2"),
        attention=_attention(tensors, len(blocks)),
    )
    return residual.convert_generator(parts, tensors.origin)


def _discriminator(tensors: Tensors, facts: Facts) -> residual.Converted:
    blocks = _blocks(tensors)
    parts = residual.DiscriminatorParts(
        blocks=[_NAMES.discriminator_block(tensors, block) for block in blocks],
        linear=tensors.layer("linear", 2),
        embedding=tensors.layer("embed", 2),
        attention=_attention(tensors, len(blocks)),
    )
    return residual.convert_discriminator(parts, tensors.origin)


def _blocks(tensors: Tensors) -> list[str]:
    return [f"blocks.{i}.0" for i in range(tensors.count(lambda i: f"blocks.{i}."))]


def _attention(tensors: Tensors, num_blocks: int) -> dict[int, Attention]:
    """Return the attention layers by the index of the block that they follow."""
    places = {i: f"blocks.{i}.1" for i in range(num_blocks)}
    return {
        i: tensors.attention(place, "{}")
        for i, place in places.items()
        if tensors.has(f"{place}.theta.")
    }


def _norm(tensors: Tensors, name: str, eps: float) -> Norm:
    gain, bias = (tensors.layer(f"{name}.{kind}", 2).weight for kind in ("gain", "bias"))
    return tensors.norm_with(*_statistics(tensors, name), 1 + gain, bias, eps)


def _statistics(tensors: Tensors, name: str) -> tuple[str, str]:
    """Return the names of the running mean and variance, as two kinds of batch norm have them."""
    if tensors.has(f"{name}.bn.running_mean"):
        raise SaganError(
            f"'{tensors.origin}' has batch norm of --cross_replica, which multiplies by the class "
            "gains in training on several GPUs and adds them elsewhere: it cannot be imported"
        )
    inner = f"{name}.bn" if tensors.has(f"{name}.bn.") else name
    return f"{inner}.stored_mean", f"{inner}.stored_var"


PEER = Peer(
    title="BigGAN-PyTorch",
    url="https://github.com/ajbrock/BigGAN-PyTorch",
    role=_role,
    generator=_generator,
    discriminator=_discriminator,
    facts=lambda tensors, text: Facts(),
    presets={32: "sagan-32", 128: "sagan-128-long-batch", 256: "sagan-256"},
    settings={"spectral_norm_eps": 1e-8},
    open_facts=("norm_eps",),
    ignored=(".sv0", ".accumulation_counter"),
)
