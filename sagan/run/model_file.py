"""Model files: both networks and what is known of them in one safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from sagan.config import Config, parse_config
from sagan.errors import SaganError, reason
from sagan.images.credits import checked_credits
from sagan.images.decode import FITS
from sagan.run.checkpoint import (
    MAX_HEADER_BYTES,
    StateTensors,
    header_bytes,
    serialize_tensors,
)


@dataclass(frozen=True)
class ModelDescription:
    """What a model file says of its networks; the attributes are those of `sagan.model.Model`."""

    config: Config
    classes: tuple[str, ...]
    fit: str
    fingerprint: str
    step: int
    card: str
    credits: str
    dataset: str


def read_description(path: Path, origin: str) -> ModelDescription:
    """Read everything but the tensors of a model file.

    Args:
        path: the file.
        origin: what messages call it.

    Raises:
        SaganError: the file cannot be read, is not a model file, or contradicts itself.
    """
    not_a_model = SaganError(f"'{origin}' is not a sagan model file: make one with sagan export")
    if header_bytes(path) > MAX_HEADER_BYTES:
        raise not_a_model
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        settings = json.loads(metadata["config"])
        classes = json.loads(metadata["classes"])
        step = int(metadata["step"])
    except OSError as error:
        raise SaganError(f"cannot read '{origin}': {reason(error)}") from None
    except (SafetensorError, KeyError, ValueError, RecursionError):
        raise not_a_model from None
    if not (isinstance(settings, dict) and _are_names(classes) and step >= 0):
        raise not_a_model
    config = parse_config(settings)
    if bool(classes) != bool(config.conditional):
        raise SaganError(f"'{origin}' is damaged: its classes do not fit its configuration")
    return ModelDescription(
        config=config,
        classes=tuple(classes),
        fit=check_fit(metadata.get("fit", "crop"), origin),
        fingerprint=metadata.get("fingerprint", ""),
        step=step,
        card=metadata.get("card", ""),
        credits=checked_credits(metadata.get("credits")),
        dataset=metadata.get("dataset", ""),
    )


def read_tensors(path: Path, origin: str, name: str) -> StateTensors:
    """Read the tensors of "ema" or "discriminator" from a model file, if it has them.

    Raises:
        SaganError: the file cannot be read, or `name` is "generator", the raw weights.
    """
    if name == "generator":
        raise SaganError(
            f"'{origin}' contains only averaged weights: raw ones are in the run directory"
        )
    prefix = {"ema": "generator.", "discriminator": "discriminator."}[name]
    try:
        with safe_open(path, framework="pt") as file:
            names = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
            return {key.removeprefix(prefix): file.get_tensor(key) for key in names}
    except (OSError, SafetensorError) as error:
        raise SaganError(f"cannot read '{origin}': {reason(error)}") from None


def model_file_bytes(
    networks: Mapping[str, StateTensors], metadata: dict[str, str], half: bool, origin: str
) -> bytes:
    """Return the content of a model file.

    Args:
        networks: the tensors of "generator" and "discriminator".
        metadata: what `read_description` reads, as text or JSON.
        half: store weights as float16.
        origin: what messages call the model.

    Raises:
        SaganError: weights are too large for float16.
    """
    tensors = {
        f"{network}.{name}": tensor
        for network, own in networks.items()
        for name, tensor in own.items()
    }
    if half:
        tensors = {name: to_half(t, f"'{origin}': {name}") for name, t in tensors.items()}
    return serialize_tensors(tensors, metadata | {"format": "pt"})


def to_half(tensor: Tensor, origin: str) -> Tensor:
    """Convert a kernel or matrix to float16; vectors, which need little space, are kept.

    Raises:
        SaganError: it has values beyond float16's range.
    """
    if tensor.dim() < 2:
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise SaganError(f"{origin} has values too large for float16: export without --half")
    return half


def _are_names(classes: object) -> bool:
    return isinstance(classes, list) and all(isinstance(name, str) for name in classes)


def check_fit(fit: str, origin: str) -> str:
    """Return how images got their proportions, if that is one of `FITS`.

    Raises:
        SaganError: it is not.
    """
    if fit not in FITS:
        raise SaganError(f"'{origin}' is damaged: its images were fitted by unknown {fit!r}")
    return fit
