"""What the file of each project offers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sagan.imports.residual import Converted
from sagan.imports.tensors import Tensors

NetworkName: TypeAlias = Literal["generator", "discriminator"]


@dataclass(frozen=True)
class Facts:
    """What evaluation depends on and weights do not show.

    Attributes:
        norm_eps: the eps of G's batch norm.
        rectified_skip: whether an in-place ReLU rectifies the skips of D's blocks.
        channels: the order of an image's channels: "rgb" or "bgr".
    """

    norm_eps: float = 1e-5
    rectified_skip: bool = False
    channels: Literal["rgb", "bgr"] = "rgb"


def read_norm_eps(text: str) -> float | None:
    """Return the eps of batch norm that a text gives; None for what it cannot be."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 1 else None


@dataclass(frozen=True)
class Peer:
    """A project with SAGANs of its own.

    Attributes:
        title: its name, for people.
        url: where it is.
        role: tells from a state dict which of its networks it is of; None if of neither.
        generator: converts a generator.
        discriminator: converts a discriminator.
        facts: those of its published runs, from a generator and the text of the configuration
            that a checkpoint may contain.
        presets: the preset with its published recipe, by resolution.
        settings: more fields of the configuration.
        open_facts: the facts that may be otherwise in runs of others.
        ignored: ends of names of tensors that do not matter.
        counts_d_steps: whether its checkpoints count updates of D.
    """

    title: str
    url: str
    role: Callable[[Tensors], NetworkName | None]
    generator: Callable[[Tensors, Facts], Converted]
    discriminator: Callable[[Tensors, Facts], Converted]
    facts: Callable[[Tensors, str], Facts]
    presets: Mapping[int, str]
    settings: Mapping[str, Any]
    open_facts: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    counts_d_steps: bool = False
