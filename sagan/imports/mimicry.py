"""Mimicry (kwotsin): recognized, and refused with the reason. It has not published SAGANs."""

from typing import NoReturn

from sagan.errors import SaganError
from sagan.imports.peer import Facts, NetworkName, Peer
from sagan.imports.tensors import Tensors


def _role(tensors: Tensors) -> NetworkName | None:
    if tensors.has("block2.b1.") and tensors.has("l1."):
        return "generator"
    return "discriminator" if tensors.has("block1.c_sc.") else None


def _refuse(tensors: Tensors, facts: Facts) -> NoReturn:
    raise SaganError(
        f"'{tensors.origin}' is of Mimicry, where the generator upsamples bilinearly and the "
        "discriminator for 128 pixels has narrower blocks: our layouts do not, so it cannot be "
        "imported"
    )


PEER = Peer(
    title="Mimicry",
    url="https://github.com/kwotsin/mimicry",
    role=_role,
    generator=_refuse,
    discriminator=_refuse,
    facts=lambda tensors, text: Facts(),
    presets={},
    settings={},
    open_facts=(),
)
