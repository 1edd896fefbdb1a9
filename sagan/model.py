"""Trained models: the one way to open run directories, model files, shipped and hub models."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, get_args

import torch
from torch import nn

from sagan.build import (
    build_discriminator,
    build_generator,
    check_feature_maps,
    leave_meta_device,
    on_meta_device,
    skip_init,
)
from sagan.config import Config
from sagan.errors import SaganError
from sagan.hub.download import download_model
from sagan.hub.folder import WEIGHTS, is_hub_folder
from sagan.hub.names import dataset_of, is_hub_name
from sagan.hub.publishable import Publishable
from sagan.nn.base import DiscriminatorBase, GeneratorBase
from sagan.nn.channels import discriminator_feature_maps, generator_feature_maps
from sagan.nn.spectral_norm import fold_spectral_norm
from sagan.run.checkpoint import (
    StateTensors,
    is_checkpoint,
    load_tensors,
    read_checkpoint,
    step_of,
    tensors_sha256,
    verify_checkpoint,
)
from sagan.run.model_file import check_fit, model_file_bytes, read_description, read_tensors
from sagan.run.run import Run
from sagan.storage.files import refuse_links, write_bytes

NetworkT = TypeVar("NetworkT", bound=nn.Module)

WeightsName: TypeAlias = Literal["ema", "raw"]  # of the generator: averaged, or the latest
PrecisionName: TypeAlias = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Model(Publishable):
    """A trained model. Its weights are read when they are needed.

    Attributes:
        origin: the path, or the name of a shipped model, for messages.
        config: the whole configuration.
        classes: names of the labels; empty for an unconditional model.
        fit: how its training images got their proportions: "crop", "pad" or "stretch".
        fingerprint: that of its training images in their pack.json; "" if unknown.
        step: number of generator updates.
        card: the model card, in Markdown; may be empty.
        read: reads the tensors of "generator" (raw weights), "ema" or "discriminator", if any.
        credits: who made its training images, in lines of text; "" if unknown.
        dataset: their data set on the Hugging Face hub, as `--data` takes it; "" if from elsewhere.
    """

    origin: str
    config: Config
    classes: tuple[str, ...]
    fit: str
    fingerprint: str
    step: int
    card: str
    read: Callable[[str], StateTensors]
    credits: str = ""
    dataset: str = ""

    def generator(
        self, weights: WeightsName = "ema", precision: PrecisionName = "float32"
    ) -> GeneratorBase:
        """Return the generator, ready to sample: in evaluation mode, normalization folded in.

        Raises:
            SaganError: the weights are missing, damaged or those of another network, or sampling
                would take more memory than `sagan.runtime.memory` allows.
            ValueError: `weights` or `precision` is unknown.
        """
        if weights not in ("ema", "raw"):
            raise ValueError(f"weights must be 'ema' or 'raw', not {weights!r}")
        if precision not in get_args(PrecisionName):
            raise ValueError(
                f"precision must be 'float32', 'bfloat16' or 'float16', not {precision!r}"
            )
        config = self.config
        maps = generator_feature_maps(config.family, config.shape, config.channels_g)
        check_feature_maps(config.shape, maps, self.origin, "sampling")
        generator = _build_for_inference(build_generator, self, self._tensors_of(weights))
        generator.fold_norms()
        generator.precision = getattr(torch, precision)
        generator.classes = self.classes
        generator.model = self
        _check_numbers(generator, self.origin)
        return generator.requires_grad_(False)

    def discriminator(self) -> DiscriminatorBase:
        """Return the discriminator in evaluation mode, spectral normalization folded in.

        Raises:
            SaganError: it is missing, damaged or another network's, or computing would take more
                memory than `sagan.runtime.memory` allows.
        """
        config = self.config
        maps = discriminator_feature_maps(config.family, config.shape, config.channels_d)
        maps = {2 * side: channels for side, channels in maps.items()}
        check_feature_maps(config.shape, maps, self.origin, "the discriminator")
        tensors = self.read("discriminator")
        if not tensors:
            raise SaganError(f"'{self.origin}' has no discriminator: use a model with both")
        discriminator = _build_for_inference(build_discriminator, self, tensors)
        _check_numbers(discriminator, self.origin)
        return discriminator

    def metadata(self) -> dict[str, str]:
        """Return what a file with this model's weights says of them, as text or JSON."""
        return {
            "config": json.dumps(self.config.model_dump(mode="json")),
            "classes": json.dumps(self.classes),
            "fit": self.fit,
            "fingerprint": self.fingerprint,
            "step": str(self.step),
            "card": self.card,
            "credits": self.credits,
            "dataset": self.dataset,
        }

    def to_bytes(self, card: str = "", half: bool = False) -> bytes:
        """Return the content of a model file: the averaged generator, and the discriminator.

        Args:
            card: a model card, in Markdown; by default the model's own.
            half: store weights as float16.

        Raises:
            SaganError: weights are damaged, or too large for float16.
        """
        networks = {"generator": self.read("ema"), "discriminator": self.read("discriminator")}
        metadata = self.metadata() | {"card": card or self.card}
        return model_file_bytes(networks, metadata, half, self.origin)

    def sha256(self, weights: WeightsName = "ema") -> str:
        """Return the SHA-256 of the generator's tensors, in 64 hex digits.

        It covers their names, dtypes, shapes and bytes.
        """
        return tensors_sha256(self._tensors_of(weights))

    def _tensors_of(self, weights: WeightsName) -> StateTensors:
        return self.read("ema" if weights == "ema" else "generator")

    def labels(self, names: str) -> list[int]:
        """Return the labels of a comma-separated list of class names or numbers.

        Raises:
            SaganError: the class does not exist, or the model is unconditional.
        """
        if not self.classes:
            raise SaganError(f"'{self.origin}' is unconditional: it has no classes to choose from")
        return [self._label(name.strip()) for name in names.split(",")]

    def _label(self, name: str) -> int:
        if name in self.classes:
            return self.classes.index(name)
        if name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        raise SaganError(
            f"no class {name!r} in '{self.origin}': its classes are {', '.join(self.classes)}"
        )


def load_generator(
    path_or_name: str | Path, weights: WeightsName = "ema", precision: PrecisionName = "float32"
) -> GeneratorBase:
    """Load the generator of a run, a model file, a shipped or hub model, ready to sample.

    Args:
        path_or_name: hf:USER/NAME[@REVISION] is a model on the Hugging Face hub; an existing path
            takes precedence over a name. RUN/checkpoints/step-N is one checkpoint of a run.
        weights: "ema", averaged over training, or "raw", the latest (run directories only).
        precision: that of convolutions and matrix products. bfloat16 takes about half the time if
            the processor supports it, and float16 is for older GPUs with tensor cores. Pixels then
            differ by less than 1 of 255 on average.

    Raises:
        SaganError: the model does not exist, or it is damaged.
        ValueError: `weights` or `precision` is unknown.
    """
    return open_model(path_or_name).generator(weights, precision)


def load_discriminator(path_or_name: str | Path) -> DiscriminatorBase:
    """Load the discriminator of a run, a model file, a shipped or hub model.

    Args:
        path_or_name: as for `load_generator`.

    Raises:
        SaganError: the model does not exist, or it is damaged.
    """
    return open_model(path_or_name).discriminator()


def open_model(path_or_name: str | Path) -> Model:
    """Open a run, a model file, a shipped or hub model. Weights are read later.

    Args:
        path_or_name: as for `load_generator`.

    Raises:
        SaganError: the model does not exist, or it is damaged.
    """
    path, name = Path(path_or_name), str(path_or_name)
    if os.path.isdir(path):  # noqa: PTH112 -- unlike Path's, no error for an impossible name
        return _open_hub_folder(path) if is_hub_folder(path) else _open_run(path)
    if os.path.isfile(path):  # noqa: PTH113
        return _open_file(path)
    if os.path.exists(path):  # noqa: PTH110
        raise SaganError(f"'{path}' is a pipe or a device: give a file or a run directory")
    if is_hub_name(name):
        return _open_file(download_model(name), origin=name)
    shipped = shipped_models()
    if name in shipped:
        return _open_file(shipped[name], origin=name)
    raise SaganError(
        f"cannot find the model '{path_or_name}': give a run directory, a .safetensors file, "
        f"hf:USER/NAME or a shipped model ({', '.join(shipped)})"
    )


def shipped_models() -> dict[str, Path]:
    """Return the paths of the models inside the package, by name."""
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
    if not checkpoint:
        raise SaganError(f"'{run}' has no checkpoint yet: train longer, then try again")
    return Model(
        origin=str(path),
        config=description.config,
        classes=description.classes,
        fit=check_fit(description.fit, str(run)),
        fingerprint=str(description.data.get("fingerprint", "")),
        step=step_of(checkpoint),
        card="",
        credits=description.credits,
        dataset=dataset_of(description.data.get("source")),
        read=partial(read_checkpoint, checkpoint),
    )


def _open_hub_folder(path: Path) -> Model:
    refuse_links(path, [WEIGHTS])
    return _open_file(path / WEIGHTS, origin=str(path))


def _open_file(path: Path, origin: str = "") -> Model:
    origin = origin or str(path)
    found = read_description(path, origin)
    return Model(
        origin=origin,
        config=found.config,
        classes=found.classes,
        fit=found.fit,
        fingerprint=found.fingerprint,
        step=found.step,
        card=found.card,
        credits=found.credits,
        dataset=dataset_of(found.dataset),
        read=partial(read_tensors, path, origin),
    )


def export_model(model: Model, out: Path, card: str = "", half: bool = False) -> None:
    """Write a model file: the averaged generator, the discriminator and their description.

    Args:
        model: the model to write.
        out: NAME.safetensors; an existing file is replaced.
        card: a model card, in Markdown; by default the model's own.
        half: store weights as float16; a loaded model still computes in float32.

    Raises:
        SaganError: the path cannot be written or does not end in .safetensors, or weights are too
            large for float16.
    """
    if out.suffix != ".safetensors":
        raise SaganError(f"'{out}' does not end in .safetensors: call it NAME.safetensors")
    write_bytes(out, model.to_bytes(card, half))


def _build_for_inference(
    build: Callable[..., NetworkT], model: Model, tensors: StateTensors
) -> NetworkT:
    """Build a network with these weights, spectral norm folded in, in evaluation mode.

    It is built on the meta device first. An untrusted configuration may ask for any amount of
    memory; this allocates no more than the weights that came with it have.

    Raises:
        SaganError: the weights are those of another network.
    """
    with on_meta_device():
        network = build(model.config, len(model.classes), skip_init)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items() if not tensor.is_complex()}
    if found != shapes:
        raise SaganError(f"the weights in '{model.origin}' do not fit its configuration")
    leave_meta_device(network)
    load_tensors(network, tensors, model.origin)
    fold_spectral_norm(network)
    return network.eval().requires_grad_(False)


def _check_numbers(network: nn.Module, origin: str) -> None:
    """Refuse weights that are not finite after folding, where divisions by zero show."""
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise SaganError(f"'{origin}' is damaged: {name} has values that are not finite")
        if name.endswith("running_var") and (tensor < 0).any():
            raise SaganError(f"'{origin}' is damaged: {name} has negative values")
