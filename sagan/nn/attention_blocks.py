"""Attention in a network: which feature maps it follows, and with which kind of block."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from torch import nn

from sagan.nn.attention import FormName, ScoresName, SelfAttention2d
from sagan.nn.attention_kernels import BackendName
from sagan.nn.inputs import check_whole
from sagan.nn.residual_control import ResidualControl2d

BlockName: TypeAlias = Literal["attention", "residual", "residual-macs"]


@dataclass(frozen=True)
class AttentionSpec:
    """Where a network has self-attention, and of which kind.

    Attributes:
        sizes: sides of the feature maps that attention follows, in any order.
        form: the published form, as in `SelfAttention2d`.
        backend: how attention is computed, as in `SelfAttention2d`.
        block: "attention", or a `ResidualControl2d` in its place: "residual" for the paper's
            control, which has as many parameters as the attention would have; "residual-macs" for
            one that takes as many multiplications.
        scores: how queries and keys are compared, as in `SelfAttention2d`.

    Raises:
        TypeError: `sizes` is not a sequence of whole numbers.
    """

    sizes: tuple[int, ...]
    form: FormName = "pooled"
    backend: BackendName = "auto"
    block: BlockName = "attention"
    scores: ScoresName = "dot"

    def __post_init__(self) -> None:
        if not isinstance(self.sizes, list | tuple):
            raise TypeError(f"sizes must be a tuple such as (16,), not {self.sizes!r}")
        for size in self.sizes:
            check_whole(size=size)


def attention_blocks(spec: AttentionSpec | None, maps: Mapping[int, int]) -> nn.ModuleDict:
    """Build the attention blocks of a network, by the side of the feature map that each follows.

    Spectral normalization is left to the network.

    Args:
        spec: which blocks to build; None for none.
        maps: all the network's feature maps in the order of its layers: side -> channels.

    Raises:
        ValueError: no feature map has such a side, a map has fewer than 8 channels, or the form,
            backend, block or scores are unknown.
        TypeError: `spec` is something else.
    """
    if spec is None:
        return nn.ModuleDict()
    if not isinstance(spec, AttentionSpec):
        raise TypeError(
            f"attention must be an AttentionSpec, such as AttentionSpec((16,)), not {spec!r}"
        )
    if spec.block not in get_args(BlockName):
        choices = ", ".join(get_args(BlockName))
        raise ValueError(f"unknown block {spec.block!r}: choose from {choices}")
    for size in spec.sizes:
        if size not in maps:
            choices = ", ".join(map(str, maps))
            raise ValueError(f"no attention at {size} x {size}: feature maps here are {choices}")
    return nn.ModuleDict(
        {
            str(size): attention_block(spec, channels, size)
            for size, channels in maps.items()  # not of spec.sizes: the network's order
            if size in spec.sizes
        }
    )


def attention_block(spec: AttentionSpec, channels: int, size: int) -> nn.Module:
    """Build one block for a feature map of this many channels, at least 8, and this side."""
    attention = SelfAttention2d(channels, spec.form, backend=spec.backend, scores=spec.scores)
    if spec.block == "attention":
        return attention
    if spec.block == "residual":
        return ResidualControl2d(channels, sum(p.numel() for p in attention.parameters()))
    # Each weight of a convolution is multiplied once at each position.
    return ResidualControl2d(channels, attention.multiplications(size, size) // size**2)
