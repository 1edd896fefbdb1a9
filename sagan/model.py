"""Trained models, from a run directory, a model file or this package: the one way to open them."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sagan.build import build_discriminator, build_generator, on_meta_device, skip_init
from sagan.config import Config, parse_config
from sagan.errors import SaganError
from sagan.images.decode import FITS
from sagan.nn.base import DiscriminatorBase, GeneratorBase
from sagan.nn.spectral_norm import fold_spectral_norm
from sagan.run.checkpoint import (
    Tensors,
    is_checkpoint,
    load_tensors,
    read_tensors,
    serialize_tensors,
    step_of,
    verify_checkpoint,
)
from sagan.run.run import Run
from sagan.storage.files import write_bytes
from sagan.storage.fsync import reason

NetworkT = TypeVar("NetworkT", bound=nn.Module)


WeightsName: TypeAlias = Literal["ema", "raw"]


PrecisionName: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Model:
    """A trained model and where its weights come from.

    Attributes:
        origin: the path, or the name of a shipped model, for messages.
        config: the whole configuration.
        classes: names of the labels; empty for an unconditional model.
        fit: how its training pictures were made square: "crop", "pad" or "stretch".
        fingerprint: of its training pictures, as in their pack.json; "" if it is not known.
        step: generator updates done.
        card: the model card, markdown; may be empty.
        read: tensors of "generator" (raw), "ema" or "discriminator".
    """

    origin: str
    config: Config
    classes: tuple[str, ...]
    fit: str
    fingerprint: str
    step: int
    card: str
    read: Callable[[str], Tensors]

    def generator(
        self, weights: WeightsName = "ema", precision: PrecisionName = "float32"
    ) -> GeneratorBase:
        """The generator, ready to sample: evaluation mode, normalization folded in."""
        if weights not in ("ema", "raw"):
            raise ValueError(f'weights are "ema" or "raw", not {weights!r}')
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f'precision is "float32" or "bfloat16", not {precision!r}')
        generator = _for_inference(build_generator, self, self._tensors_of(weights))
        generator.fold_norms()
        generator.precision = getattr(torch, precision)
        _check_numbers(generator, self.origin)
        return generator.requires_grad_(False)

    def discriminator(self) -> DiscriminatorBase:
        """The discriminator, ready to look at pictures: evaluation mode, spectral norm folded."""
        discriminator = _for_inference(build_discriminator, self, self.read("discriminator"))
        _check_numbers(discriminator, self.origin)
        return discriminator

    def sha256(self, weights: WeightsName = "ema") -> str:
        """Of the generator's tensors: their names, types, shapes and bytes; 64 hex digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._tensors_of(weights).items()):
            digest.update(serialize_tensors({name: tensor}, {}))
        return digest.hexdigest()

    def _tensors_of(self, weights: WeightsName) -> Tensors:
        return self.read("ema" if weights == "ema" else "generator")

    def labels(self, names: str) -> list[int]:
        """The labels of a comma-separated list of class names or numbers.

        Raises:
            SaganError: no such class, or an unconditional model.
        """
        if not self.classes:
            raise SaganError(f"{self.origin} is unconditional: it has no classes to choose from")
        return [self._label(name.strip()) for name in names.split(",")]

    def _label(self, name: str) -> int:
        if name in self.classes:
            return self.classes.index(name)
        if name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        raise SaganError(f"no class {name!r} in {self.origin}: it has {', '.join(self.classes)}")


def load_generator(
    path_or_name: str | Path, weights: WeightsName = "ema", precision: PrecisionName = "float32"
) -> GeneratorBase:
    """The generator of a run directory, a model file or a shipped model, ready to sample.

    Args:
        path_or_name: an existing path wins over a shipped model's name; RUN/checkpoints/step-N is
            one checkpoint of a run.
        weights: "ema", the average, or "raw", the latest (run directories only).
        precision: of convolutions and matrix products. bfloat16 takes about half the time where the
            processor has it; pixels are then off by less than 1 of 255 on average.

    Raises:
        SaganError: there is no such model, or it is damaged.
        ValueError: no such weights or precision.
    """
    return open_model(path_or_name).generator(weights, precision)


def load_discriminator(path_or_name: str | Path) -> DiscriminatorBase:
    """The discriminator of a run directory, a model file or a shipped model.

    Raises:
        SaganError: there is no such model, or it is damaged.
    """
    return open_model(path_or_name).discriminator()


def open_model(path_or_name: str | Path) -> Model:
    """Find a model; weights are read when asked for.

    Raises:
        SaganError: there is no such model, or it is damaged.
    """
    path = Path(path_or_name)
    if os.path.isdir(path):  # noqa: PTH112 -- unlike Path's, no error for an impossible name
        return _open_run(path)
    if os.path.isfile(path):  # noqa: PTH113
        return _open_file(path)
    if os.path.exists(path):  # noqa: PTH110
        raise SaganError(f"{path} is not a file, but a pipe or a device")
    shipped = shipped_models()
    if str(path_or_name) in shipped:
        return replace(_open_file(shipped[str(path_or_name)]), origin=str(path_or_name))
    names = ", ".join(shipped)
    raise SaganError(
        f"there is no model {path_or_name}: give a run directory, a .safetensors file "
        f"or a shipped model ({names})"
    )


def shipped_models() -> dict[str, Path]:
    """The models inside the package, by name."""
    folder = Path(str(resources.files("sagan") / "models"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def _open_run(path: Path) -> Model:
    run, checkpoint = Run(path), None
    if not run.exists and is_checkpoint(path.resolve()):
        run, checkpoint = Run(path.resolve().parent.parent), path
        verify_checkpoint(checkpoint)
    run.require()
    description = run.description
    checkpoint = checkpoint or run.newest_checkpoint
    if checkpoint is None:
        raise SaganError(f"{run} has no checkpoint yet: train on, then try again")
    return Model(
        origin=str(path),
        config=description.config,
        classes=description.classes,
        fit=_known_fit(description.fit, run.path),
        fingerprint=str(description.data.get("fingerprint", "")),
        step=step_of(checkpoint),
        card="",
        read=lambda name: read_tensors(checkpoint, name),
    )


def _open_file(path: Path) -> Model:
    not_a_model = SaganError(f"{path} is not a sagan model file: make one with sagan export")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        settings = json.loads(metadata["config"])
        classes = json.loads(metadata["classes"])
        step = int(metadata["step"])
    except OSError as error:
        raise SaganError(f"cannot read {path}: {reason(error)}") from None
    except (SafetensorError, KeyError, ValueError, RecursionError):
        raise not_a_model from None
    if not (isinstance(settings, dict) and _are_names(classes) and step >= 0):
        raise not_a_model
    config = parse_config(settings)
    if bool(classes) != bool(config.conditional):
        raise SaganError(f"{path} is damaged: its classes do not fit its configuration")

    def read(name: str) -> Tensors:
        if name == "generator":
            raise SaganError(f"{path} holds averaged weights only: raw ones are in the run")
        prefix = {"ema": "generator.", "discriminator": "discriminator."}[name]
        try:
            with safe_open(path, framework="pt") as file:
                names = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
                return {key.removeprefix(prefix): file.get_tensor(key) for key in names}
        except (OSError, SafetensorError) as error:
            raise SaganError(f"cannot read {path}: {reason(error)}") from None

    return Model(
        origin=str(path),
        config=config,
        classes=tuple(classes),
        fit=_known_fit(metadata.get("fit", "crop"), path),
        fingerprint=metadata.get("fingerprint", ""),
        step=step,
        card=metadata.get("card", ""),
        read=read,
    )


def _are_names(classes: object) -> bool:
    return isinstance(classes, list) and all(isinstance(name, str) for name in classes)


def _known_fit(fit: str, origin: Path) -> str:
    if fit not in FITS:
        raise SaganError(f"{origin} is damaged: no pictures are made square by {fit!r}")
    return fit


def export_model(model: Model, out: Path, card: str = "", half: bool = False) -> None:
    """Write a model file: the averaged generator, the discriminator and what they are.

    Args:
        model: what to write.
        out: NAME.safetensors; one that is there is replaced.
        card: its model card, markdown; the model's own unless given.
        half: keep weights in float16, which halves the file; a loaded model computes in float32
            all the same.

    Raises:
        SaganError: the path cannot be written or does not end in .safetensors, or weights are too
            large for float16.
    """
    if out.suffix != ".safetensors":
        raise SaganError(f"a model file is called NAME.safetensors, not {out.name}")
    tensors = {f"generator.{name}": t for name, t in model.read("ema").items()}
    tensors |= {f"discriminator.{name}": t for name, t in model.read("discriminator").items()}
    if half:
        tensors = {name: _in_half(t, f"{model.origin}: {name}") for name, t in tensors.items()}
    metadata = {
        "format": "pt",
        "config": json.dumps(model.config.model_dump(mode="json")),
        "classes": json.dumps(model.classes),
        "fit": model.fit,
        "fingerprint": model.fingerprint,
        "step": str(model.step),
        "card": card or model.card,
    }
    write_bytes(out, serialize_tensors(tensors, metadata))


def _in_half(tensor: Tensor, origin: str) -> Tensor:
    """A kernel or matrix in float16; vectors, which take no room, as they are."""
    if tensor.dim() < 2:
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise SaganError(f"{origin} has numbers beyond float16: export without --half")
    return half


def _for_inference(build: Callable[..., NetworkT], model: Model, tensors: Tensors) -> NetworkT:
    """A network with these weights, spectral norm folded in, in evaluation mode.

    It is built without memory first: a configuration from a stranger may ask for any amount, and
    gets what the weights that came with it really have.

    Raises:
        SaganError: the weights are those of another network.
    """
    with on_meta_device():
        network = build(model.config, len(model.classes), skip_init)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items() if not tensor.is_complex()}
    if found != shapes:
        raise SaganError(f"the weights in {model.origin} do not fit its configuration")
    network.to_empty(device="cpu")
    load_tensors(network, tensors, model.origin)
    fold_spectral_norm(network)
    return network.eval().requires_grad_(False)


def _check_numbers(network: nn.Module, origin: str) -> None:
    """Refuse weights, as they are used, that draw nothing: what is divided by zero shows here."""
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise SaganError(f"{origin} is damaged: {name} has numbers that are not finite")
        if name.endswith("running_var") and (tensor < 0).any():
            raise SaganError(f"{origin} is damaged: {name} has negative numbers")
