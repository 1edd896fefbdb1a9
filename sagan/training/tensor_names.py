"""The names of a network's tensors: which layer, block or attention block each belongs to."""

NORMALIZED = ".parametrizations.weight"  # of a spectrally normalized layer: .original, .0.u, .0.v


def layer_of(name: str) -> str:
    """Return the layer that a tensor belongs to; an attention block counts as one."""
    if name.startswith("self_attention."):
        return block_of(name).rstrip(".")
    if NORMALIZED in name:
        return name.partition(NORMALIZED)[0]
    return name.rpartition(".")[0]


def block_of(name: str) -> str:
    """Return "blocks.N." or "self_attention.N.", which a tensor's name begins with, or ""."""
    first, number, *_ = f"{name}.".split(".")
    return f"{first}.{number}." if first in ("blocks", "self_attention") else ""
