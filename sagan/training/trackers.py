"""Experiment trackers besides TensorBoard, each through accelerate's class for it."""

import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import tracking

from sagan.errors import SaganError, reason
from sagan.run.directory import RunDescription
from sagan.run.stats import Record
from sagan.storage.files import read_json, write_json
from sagan.types import UInt8Array

PROJECT = "sagan"  # where the trackers list runs
IDS = "trackers.json"  # in a run directory: {tracker: its name for the run}, to resume it


@dataclass(frozen=True)
class Kind:
    """A kind of tracker.

    Attributes:
        open: returns a tracker that has not started, given the run directory and the tracker's id
            of the run ("" for a new one).
        id_of: returns that id from a tracker that has started.
        images: arguments of its `log_images` for one image; None if it takes no images.
    """

    open: Callable[[Path, str], Any]
    id_of: Callable[[Any], str]
    images: Callable[[str, UInt8Array], dict[str, Any]] | None = None


def _open_wandb(run: Path, known: str) -> Any:
    name, own = run.resolve().name, known or uuid.uuid4().hex[:12]
    return tracking.WandBTracker(PROJECT, name=name, id=own, resume="allow")


def _open_mlflow(run: Path, known: str) -> Any:
    return tracking.MLflowTracker(PROJECT, run_id=known or None, run_name=run.resolve().name)


def _open_trackio(run: Path, known: str) -> Any:
    # Its runs are known by their names.
    name = known or f"{run.resolve().name}-{uuid.uuid4().hex[:6]}"
    return tracking.TrackioTracker(PROJECT, name=name, resume="allow")


def _open_aim(run: Path, known: str) -> Any:
    named = {"run_hash": known} if known else {}
    return tracking.AimTracker(f"{PROJECT}: {run.resolve().name}", logging_dir=".", **named)


# By the name that accelerate has for it, which is also that of its library.
KINDS = {
    "wandb": Kind(
        _open_wandb, lambda tracker: tracker.tracker.id, lambda name, image: {name: [image]}
    ),
    "mlflow": Kind(_open_mlflow, lambda tracker: tracker.tracker.info.run_id),
    "trackio": Kind(_open_trackio, lambda tracker: tracker.tracker.name),
    "aim": Kind(_open_aim, lambda tracker: tracker.tracker.hash, lambda name, image: {name: image}),
}
ALWAYS = "tensorboard"  # every run writes it


def parse_trackers(text: str) -> tuple[str, ...]:
    """Return the trackers of a comma-separated list, but TensorBoard, which every run has.

    Raises:
        SaganError: one is unknown, or its library is not installed.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in (*KINDS, ALWAYS):
            known = ", ".join((ALWAYS, *KINDS))
            raise SaganError(f"unknown tracker '{name}': choose from {known}")
        if name in KINDS and not _is_installed(name):
            raise SaganError(f"--track {name} needs the library '{name}': pip install {name}")
    return tuple(name for name in names if name != ALWAYS)


def _is_installed(library: str) -> bool:
    # W&B and others make a folder of their name, which Python takes for an empty package.
    spec = find_spec(library)
    return spec is not None and spec.origin is not None


class Trackers:
    """The trackers of a run. One that fails while training is left out from then on.

    Args:
        names: in `KINDS`.
        run: the run directory.
        description: what is trained.

    Raises:
        SaganError: a tracker cannot start, or its name for the run cannot be written down.
    """

    def __init__(self, names: tuple[str, ...], run: Path, description: RunDescription) -> None:
        self._started: dict[str, Any] = {}
        known = _known_ids(run)
        with ExitStack() as stack:
            stack.callback(self.close)
            for name in names:
                try:
                    tracker = KINDS[name].open(run, known.get(name, ""))
                    tracker.start()
                    self._started[name] = tracker
                    known[name] = str(KINDS[name].id_of(tracker))
                    tracker.store_init_configuration(_hyperparameters(description))
                except Exception as error:  # each library has errors of its own
                    raise SaganError(
                        f"cannot start the tracker {name}: {_described(error)}"
                    ) from None
            if names:
                write_json(run / IDS, known)
            stack.pop_all()

    def log(self, record: Record) -> None:
        """Record numbers, among them "step"."""
        values = {name: value for name, value in record.items() if name != "step"}
        for name in list(self._started):
            self._call(name, "log", values, int(record["step"]))

    def log_image(self, name: str, image: UInt8Array, step: int) -> None:
        """Record an image, uint8 (H, W, 3), where images can be recorded."""
        for tracker in list(self._started):
            if (arguments := KINDS[tracker].images) is not None:
                self._call(tracker, "log_images", arguments(name, image), step)

    def close(self) -> None:
        """Finish all trackers."""
        for name in list(self._started):
            self._call(name, "finish")
        self._started.clear()

    def _call(self, name: str, method: str, *arguments: Any) -> None:
        try:
            getattr(self._started[name], method)(*arguments)
        except Exception as error:  # a tracker must not cost a training
            del self._started[name]
            warnings.warn(
                f"the tracker {name} has failed, and training continues without it: "
                f"{_described(error)}",
                stacklevel=2,
            )


def _known_ids(run: Path) -> dict[str, str]:
    """Read RUN/trackers.json; empty if it is missing or damaged: the trackers begin new runs."""
    with suppress(SaganError):
        content = read_json(run / IDS, follow_links=False)
        if isinstance(content, dict):
            return {str(name): str(value) for name, value in content.items()}
    return {}


def _hyperparameters(description: RunDescription) -> Mapping[str, Any]:
    """Return the configuration as names with single values, as trackers take them."""
    settings = description.config.model_dump(mode="json")
    flat = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in settings.items()}
    return {"preset": description.preset, **flat}


def _described(error: Exception) -> str:
    if isinstance(error, OSError):
        return reason(error)
    return " ".join(str(error).split()) or type(error).__name__
