"""What other projects save: a state dict, or a checkpoint with several of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagan.errors import SaganError
from sagan.storage.torch_files import StateDict, checked_state_dict, read_torch_file

# Where the weights are in a checkpoint, and where its number of steps is.
_STATE_KEYS = ("state_dict", "model_state_dict", "model")
_STEP_KEYS = ("step", "global_step", "iter", "itr")
# The networks of a checkpoint, as entries or as the first part of names.
_NETWORKS = {
    "ema": ("generator_ema", "G_ema", "g_ema", "netG_ema"),
    "generator": ("generator", "G", "g", "netG"),
    "discriminator": ("discriminator", "D", "d", "netD"),
}


@dataclass(frozen=True)
class SavedNetworks:
    """The content of a file.

    Attributes:
        origin: the file.
        networks: state dicts of "ema" (averaged G), "generator" (raw G) and "discriminator", or of
            "unnamed", a network that only its names can tell.
        step: number of G updates; 0 if the file does not say.
        text: the configuration that the file contains as text; may be empty.
    """

    origin: str
    networks: dict[str, StateDict]
    step: int
    text: str


def read_checkpoint(path: Path) -> SavedNetworks:
    """Read a file written by `torch.save`, without running any code in it.

    Raises:
        SaganError: it cannot be read, or does not contain the weights of networks.
    """
    content = read_torch_file(path)
    origin = str(path)
    if not isinstance(content, dict):
        raise SaganError(f"'{origin}' does not contain weights: it is not a dictionary")
    meta = content.get("meta")
    described = [content, *([meta] if isinstance(meta, dict) else [])]
    weights: Any = next((content[key] for key in _STATE_KEYS if key in content), content)
    networks = _entries(weights, origin) or _split(checked_state_dict(weights, origin))
    return SavedNetworks(
        origin=origin,
        networks={name: _without_wrapper(tensors) for name, tensors in networks.items()},
        step=_step(described),
        text=_text(described),
    )


def _entries(content: object, origin: str) -> dict[str, StateDict]:
    """Return the networks of a checkpoint that has a dictionary for each."""
    if not isinstance(content, Mapping):
        return {}
    return {
        name: checked_state_dict(content[key], origin)
        for name, keys in _NETWORKS.items()
        for key in keys
        if isinstance(content.get(key), dict)
    }


def _split(tensors: StateDict) -> dict[str, StateDict]:
    """Return the networks of a state dict of a module that contains them, or the only one."""
    networks: dict[str, StateDict] = {}
    for name, keys in _NETWORKS.items():
        for key in keys:
            prefix = f"{key}."
            own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            if own:
                networks[name] = own
    return networks or {"unnamed": tensors}


def _without_wrapper(tensors: StateDict) -> StateDict:
    """Remove what `DataParallel` puts before each name."""
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _step(described: list[dict[Any, Any]]) -> int:
    for entries in described:
        for key in _STEP_KEYS:
            step = entries.get(key)
            if isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 2**53:
                return step
    return 0


def _text(described: list[dict[Any, Any]]) -> str:
    texts = (entries.get("config") for entries in described)
    return next((text for text in texts if isinstance(text, str)), "")
