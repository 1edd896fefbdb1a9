"""Run directories and model files: the only door to weights on disk.

A checkpoint is weights (safetensors) and readable JSON, never code or pickles. It is written under
a temporary name, flushed to disk and renamed, so that a crash leaves the old one or the new one
whole; its manifest holds the sha256 of each file, taken before it was written, which is checked
when it is read.

    RUN/config.json  environment.json  stats.jsonl  tb/  samples/  attention/
        checkpoints/step-00001000/{generator,discriminator,ema,optimizer}.safetensors
                                  state.json  manifest.json
"""

import hashlib
import json
import os
import re
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from sagan import spectral
from sagan.build import build_discriminator, build_generator, undrawn, without_memory
from sagan.config import Config, parse_config
from sagan.data.decode import FITS
from sagan.durability import discard, flush, is_litter, reason, rename, sweep, write
from sagan.errors import SaganError
from sagan.files import read_json, read_small, to_json, write_bytes, write_json
from sagan.inference import DiscriminatorBase, GeneratorBase

FORMAT = 1
KEEP = 3  # newest checkpoints of a run
RUN_CONTENT = {
    ".lock", "config.json", "environment.json", "stats.jsonl", "tb", "samples", "attention",
    "checkpoints", "best.json",
}  # fmt: skip
FILES = (
    "generator.safetensors",
    "discriminator.safetensors",
    "ema.safetensors",
    "optimizer.safetensors",
    "state.json",
)

Network = TypeVar("Network", bound=nn.Module)
Tensors: TypeAlias = dict[str, Tensor]
Weights: TypeAlias = Literal["ema", "raw"]
Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class RunDescription:
    """What a run directory is of: its config.json.

    Attributes:
        config: the whole configuration; ``conditional`` is decided in it.
        preset: the preset that it started from.
        data: the data set: source, fingerprint, number of images, class names, fit.
    """

    config: Config
    preset: str
    data: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels; empty for an unconditional model."""
        return tuple(self.data["classes"]) if self.config.conditional else ()

    @property
    def fit(self) -> str:
        """How the pictures were made square: "crop", "pad" or "stretch"."""
        return str(self.data.get("fit", "crop"))  # 0.1.0's first runs do not say


# ---------------------------------------------------------------------------------------------
# Run directories


def create_run(run: Path, description: RunDescription, environment: Mapping[str, Any]) -> None:
    """Make a run directory with its config.json and environment.json.

    Raises:
        SaganError: the path is a file, or cannot be written.
    """
    check_run_folder(run)
    try:
        for folder in ("checkpoints", "samples", "attention"):
            (run / folder).mkdir(parents=True, exist_ok=True)
        flush(run.parent)
    except OSError as error:
        raise SaganError(f"cannot make the run directory {run}: {reason(error)}") from None
    sweep(run)
    sweep(run / "checkpoints")
    content = {
        "format": FORMAT,
        "preset": description.preset,
        "config": description.config.model_dump(mode="json"),
        "data": description.data,
    }
    write_json(run / "config.json", content)
    write_json(run / "environment.json", environment)


def check_run_folder(run: Path) -> None:
    """Insist that a folder is free to train in: not there, empty, or a run's.

    Raises:
        SaganError: it is a file, holds something else, or has a name that is no text.
    """
    try:
        str(run).encode()
    except UnicodeEncodeError:
        raise SaganError(f"{run} is no name in UTF-8: give another --out") from None
    if run.exists() and not run.is_dir():
        raise SaganError(f"{run} is a file, not a folder to train in: give another --out")
    if run.is_dir() and not is_run(run):
        others = [
            path.name
            for path in run.iterdir()
            if path.name not in RUN_CONTENT and not is_litter(path)
        ]
        if others:
            raise SaganError(f"{run} holds other things, such as {others[0]}: give another --out")


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Let one process at a time train in a folder; the system lifts the lock if it crashes.

    Raises:
        SaganError: another process is training there, or the folder cannot be made.
    """
    check_run_folder(run)
    with alone_in(run):
        yield


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let one process at a time work in a folder, whatever it holds.

    Raises:
        SaganError: another process does, or the folder cannot be made.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise SaganError(
            f"another process is at work in {folder}: wait until it ends (if there is none, as on "
            "a shared disk whose machine was lost, remove the file .lock there)"
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise SaganError(f"cannot work in {folder}: {reason(error)}") from None
    try:
        yield
    finally:
        lock.release()


def is_run(path: Path) -> bool:
    """Whether this folder holds a run."""
    return (path / "config.json").is_file()


def read_run(run: Path) -> RunDescription:
    """Read config.json.

    Raises:
        SaganError: missing or damaged.
    """
    path = run / "config.json"
    content = read_json(path)
    try:
        config, preset, data = content["config"], content["preset"], content["data"]
        classes = data["classes"]
        sound = (
            isinstance(config, dict)
            and isinstance(classes, list)
            and all(isinstance(name, str) for name in classes)
        )
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise SaganError(f"{path} is not a run's configuration")
    return RunDescription(parse_config(config), str(preset), data)


def read_environment(run: Path) -> dict[str, Any]:
    """Read environment.json, which only informs: empty if it is missing or damaged."""
    with suppress(SaganError):
        content = read_json(run / "environment.json")
        if isinstance(content, dict):
            return content
    return {}


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first; their content is not looked at."""
    found = (run / "checkpoints").glob("step-*")
    return sorted(filter(_is_checkpoint, found), key=step_of)


def _is_checkpoint(path: Path) -> bool:
    return re.fullmatch(r"step-\d{8,}", path.name) is not None


def step_of(checkpoint: Path) -> int:
    """The number of generator updates behind a checkpoint folder."""
    return int(checkpoint.name.removeprefix("step-"))


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step is, or will be."""
    return run / "checkpoints" / f"step-{step:08d}"


def save_checkpoint(
    run: Path,
    step: int,
    tensors: Mapping[str, Tensors],
    state: Mapping[str, Any],
    keep: Callable[[int], bool] = lambda step: False,
) -> Path:
    """Write one checkpoint whole or not at all, then drop those :data:`KEEP` or more behind it.

    A checkpoint with a file called ``keep`` in it stays as well.

    Args:
        run: the run directory.
        step: generator updates done.
        tensors: the content of each safetensors file, by its name without the ending.
        state: what else the next step depends on, as JSON.
        keep: whether the checkpoint of a step stays however old it gets.

    Raises:
        SaganError: the disk is full, or cannot be written.
    """
    final = folder_of(run, step)
    folder = final.parent
    temporary = folder / f".{final.name}.tmp"
    sweep(folder)
    try:
        temporary.mkdir()
        _write_checkpoint(temporary, tensors, {"step": step, **state})
        if os.path.lexists(final):  # a damaged one that training went back behind
            if (final / "keep").exists():
                (temporary / "keep").touch()
            discard(final)
        flush(temporary)
        rename(temporary, final)
    except OSError as error:
        raise SaganError(
            f"cannot save the checkpoint {final}: {reason(error)}; those before are whole"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    behind = [path for path in checkpoints(run) if step_of(path) < step]
    for old in behind[: 1 - KEEP]:
        if not (keep(step_of(old)) or (old / "keep").exists()):
            with suppress(OSError):
                discard(old)
    return final


def _write_checkpoint(
    folder: Path, tensors: Mapping[str, Tensors], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint's files into an empty folder, one at a time through memory."""
    digests = {}

    def add(name: str, content: bytes) -> None:
        write(folder / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()

    for name, content in tensors.items():
        add(f"{name}.safetensors", _serialized(content, {"format": "pt"}))
    add("state.json", to_json(state))
    write(folder / "manifest.json", _manifest(digests))


def latest_checkpoint(run: Path) -> Path | None:
    """The newest sound checkpoint, None if there never was one.

    Damaged ones are passed over with a warning.

    Raises:
        SaganError: there are checkpoints, and all are damaged.
    """
    damage: list[SaganError] = []
    found = checkpoints(run)
    for checkpoint in reversed(found):
        try:
            verify_checkpoint(checkpoint)
        except SaganError as error:
            damage.append(error)
            continue
        if damage:
            lost = step_of(found[-1]) - step_of(checkpoint)
            warnings.warn(f"{damage[0]}; going back {lost} steps to {checkpoint}", stacklevel=2)
        return checkpoint
    if damage:
        raise SaganError(
            f"no checkpoint of {run} is sound: {damage[0]}. Begin anew in another --out"
        )
    return None


def verify_checkpoint(checkpoint: Path) -> None:
    """Insist that the manifest is, byte for byte, the one that belongs to the files beside it.

    Raises:
        SaganError: a file is missing, cannot be read, or is not what was written.
    """
    digests = {name: _sha256(checkpoint / name) for name in FILES}
    manifest = checkpoint / "manifest.json"
    if manifest.is_symlink():
        raise _damaged(manifest)
    written = read_small(manifest)
    if written != _manifest(digests):
        wrong = [name for name in FILES if _manifest_line(name, digests) not in written]
        is_one_of_them = 0 < len(wrong) < len(FILES)
        raise _damaged(checkpoint / wrong[0] if is_one_of_them else manifest)


def _sha256(path: Path) -> str:
    """The digest of a checkpoint's file, which must be a file: no link, pipe or device."""
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise _damaged(path)
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise SaganError(
            f"{path.parent} is damaged: cannot read {path.name}: {reason(error)}"
        ) from None
    return digest.hexdigest()


def _damaged(path: Path) -> SaganError:
    return SaganError(f"{path.parent} is damaged: {path.name} is not what was written")


def _serialized(tensors: Tensors, metadata: dict[str, str]) -> bytes:
    """The content of a safetensors file."""
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return serialize(contiguous, metadata)


def _manifest(digests: Mapping[str, str]) -> bytes:
    """A manifest: the sha256 of each file, and one over all of these and the format."""
    content: dict[str, Any] = {"format": FORMAT, "sha256": dict(sorted(digests.items()))}
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return to_json({**content, "checksum": checksum})


def _manifest_line(name: str, digests: Mapping[str, str]) -> bytes:
    return f'"{name}": "{digests[name]}"'.encode()


def read_tensors(checkpoint: Path, name: str) -> Tensors:
    """The content of one of a checkpoint's safetensors files.

    Raises:
        SaganError: missing or damaged.
    """
    path = checkpoint / f"{name}.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise SaganError(f"cannot read {path}: {error}") from None


def load_tensors(network: nn.Module, tensors: Tensors, origin: str) -> None:
    """Copy tensors into a network of the same names and shapes.

    Raises:
        SaganError: they are those of another network.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise SaganError(f"the weights in {origin} do not fit its configuration") from None


# ---------------------------------------------------------------------------------------------
# Trained models, from a run directory or a model file


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
        self, weights: Weights = "ema", precision: Precision = "float32"
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

    def sha256(self, weights: Weights = "ema") -> str:
        """Of the generator's tensors: their names, types, shapes and bytes; 64 hex digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._tensors_of(weights).items()):
            digest.update(_serialized({name: tensor}, {}))
        return digest.hexdigest()

    def _tensors_of(self, weights: Weights) -> Tensors:
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
    path_or_name: str | Path, weights: Weights = "ema", precision: Precision = "float32"
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
    run, checkpoint = path, None
    if not is_run(path) and _is_checkpoint(path.resolve()):
        run, checkpoint = path.resolve().parent.parent, path
        verify_checkpoint(checkpoint)
    if not is_run(run):
        raise SaganError(f"{run} is not a run directory: it has no config.json")
    description = read_run(run)
    checkpoint = checkpoint or latest_checkpoint(run)
    if checkpoint is None:
        raise SaganError(f"{run} has no checkpoint yet: train on, then try again")
    return Model(
        origin=str(path),
        config=description.config,
        classes=description.classes,
        fit=_known_fit(description.fit, run),
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
    write_bytes(out, _serialized(tensors, metadata))


def _in_half(tensor: Tensor, origin: str) -> Tensor:
    """A kernel or matrix in float16; vectors, which take no room, as they are."""
    if tensor.dim() < 2:
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise SaganError(f"{origin} has numbers beyond float16: export without --half")
    return half


def _for_inference(build: Callable[..., Network], model: Model, tensors: Tensors) -> Network:
    """A network with these weights, spectral norm folded in, in evaluation mode.

    It is built without memory first: a configuration from a stranger may ask for any amount, and
    gets what the weights that came with it really have.

    Raises:
        SaganError: the weights are those of another network.
    """
    with without_memory():
        network = build(model.config, len(model.classes), undrawn)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items() if not tensor.is_complex()}
    if found != shapes:
        raise SaganError(f"the weights in {model.origin} do not fit its configuration")
    network.to_empty(device="cpu")
    load_tensors(network, tensors, model.origin)
    spectral.fold(network)
    return network.eval().requires_grad_(False)


def _check_numbers(network: nn.Module, origin: str) -> None:
    """Refuse weights, as they are used, that draw nothing: what is divided by zero shows here."""
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise SaganError(f"{origin} is damaged: {name} has numbers that are not finite")
        if name.endswith("running_var") and (tensor < 0).any():
            raise SaganError(f"{origin} is damaged: {name} has negative numbers")
