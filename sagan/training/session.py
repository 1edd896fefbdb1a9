"""From what the user asks for to a run that can start: configuration, data, resume checks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagan.config import MAY_CHANGE, Config, changes, going_on, resolve
from sagan.data import PackedDataset, open_dataset
from sagan.errors import SaganError
from sagan.run import directory
from sagan.run.directory import RunDescription
from sagan.runtime.extras import INSTALL, libraries_installed

DEFAULT_PRESET = "cpu-32"
RESUME = "the same command goes on from the newest checkpoint"

Notify = Callable[[str], None]
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Session:
    """A run that is ready to start or to go on.

    Attributes:
        run: its directory, which need not exist yet.
        description: its configuration and data.
        dataset: the images.
    """

    run: Path
    description: RunDescription
    dataset: PackedDataset


def prepare(
    source: str,
    run: Path,
    preset: str | None,
    overrides: Mapping[str, Any],
    notify: Notify,
    progress: Progress | None = None,
) -> Session:
    """Resolve the configuration, open the data, and compare both with a run already begun.

    Args:
        source: what to train on; packed into the cache if need be.
        run: the run directory. One that holds a run is resumed.
        preset: the recipe; None takes the resumed run's, or `DEFAULT_PRESET`.
        overrides: fields of the configuration that replace the recipe's, or those that a resumed
            run began with, which need not be given again.
        notify: called with one line for each thing that the user should hear.
        progress: called with (pictures done, pictures in all or None) while packing.

    Raises:
        SaganError: something does not fit; one line says what.
    """
    directory.check_run_folder(run)
    begun = directory.read_run(run) if directory.is_run(run) else None
    if begun is not None and preset in (None, begun.preset):
        preset, config = begun.preset, going_on(begun.config, overrides)
    else:
        preset = preset or DEFAULT_PRESET
        config = resolve(preset, overrides)
    if config.evaluate_every and not libraries_installed():
        notify(f"no evaluations while training: they need {INSTALL}")
    dataset = open_dataset(source, config.resolution, notify=notify, progress=progress)
    config = _follow_data(config, dataset, notify)
    data = {
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "images": len(dataset),
        "classes": list(dataset.classes),
        "fit": dataset.fit,
    }
    description = RunDescription(config, preset, data)
    if begun is not None:
        _check_resumed(run, begun, description)
    return Session(run, description, dataset)


def _follow_data(config: Config, dataset: PackedDataset, notify: Notify) -> Config:
    """Decide `conditional`: what was asked for, else whether the data has labels."""
    labeled = dataset.labels is not None
    config = config.following(labeled)
    if config.conditional and not labeled:
        raise SaganError(
            f"conditional=true needs labels, and {dataset.source} has none: "
            "put the pictures into one folder per class"
        )
    if labeled and not config.conditional:
        notify(f"the {dataset.num_classes} classes of {dataset.source} are ignored (unconditional)")
    return config


def _check_resumed(run: Path, begun: RunDescription, wanted: RunDescription) -> None:
    """Refuse to go on with another configuration or other data than the run began with."""
    changed = changes(begun.config.model_dump(), wanted.config.model_dump(), MAY_CHANGE)
    if begun.data.get("fingerprint") != wanted.data["fingerprint"]:
        changed.append(f"the data was {begun.data.get('source')} and has changed")
    if changed:
        raise SaganError(
            f"{run} holds a run that began otherwise: {'; '.join(changed)}. "
            "Give the same command as then, or another --out"
        )
