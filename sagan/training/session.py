"""From a user's request to a run that can start: configuration, data, checks before resuming."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagan.config import MAY_CHANGE, Config, forbidden_changes, resolve, resume_config
from sagan.data import PackedDataset, open_dataset
from sagan.errors import SaganError
from sagan.run import directory
from sagan.run.directory import RunDescription
from sagan.run.run import Run
from sagan.runtime.extras import INSTALL, libraries_installed
from sagan.types import Notify, Progress

DEFAULT_PRESET = "cpu-32"
RESUME = "the same command resumes from the newest checkpoint"


@dataclass(frozen=True)
class Session:
    """A run that is ready to start or to resume.

    Attributes:
        run: the run directory, which need not exist yet.
        description: configuration and data to train with.
        dataset: the images.
    """

    run: Run
    description: RunDescription
    dataset: PackedDataset


def prepare_session(
    source: str,
    run: Path,
    preset: str | None,
    overrides: Mapping[str, Any],
    notify: Notify,
    progress: Progress | None = None,
) -> Session:
    """Resolve the configuration, open the data, and compare both with the run's, if it has begun.

    Args:
        source: the data to train on; packed into the cache if necessary.
        run: the run directory. If it already contains a run, training resumes.
        preset: the preset; None takes that of the run to resume, or `DEFAULT_PRESET`.
        overrides: configuration fields that replace the preset's. In a run to resume they replace
            those it began with, which need not be given again.
        notify: called with one line for each thing that the user should know.
        progress: called while packing, with images done and images in all.

    Raises:
        SaganError: something does not fit; one line says what.
    """
    directory.check_run_folder(run)
    found = Run(run)
    begun = found.description if found.exists else None
    if begun is not None and preset in (None, begun.preset):
        preset, config = begun.preset, resume_config(begun.config, overrides)
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
    return Session(found, description, dataset)


def _follow_data(config: Config, dataset: PackedDataset, notify: Notify) -> Config:
    """Decide `conditional`: as requested, else by whether the data has labels."""
    labeled = dataset.labels is not None
    config = config.with_labels(labeled)
    if config.conditional and not labeled:
        raise SaganError(
            f"conditional=true needs labels, but '{dataset.source}' has none: "
            "put the images into one folder per class"
        )
    if labeled and not config.conditional:
        notify(
            f"the {dataset.num_classes} classes of {dataset.source} are ignored: the model is "
            "unconditional"
        )
    return config


def _check_resumed(run: Path, begun: RunDescription, requested: RunDescription) -> None:
    """Refuse to resume with another configuration or other data than the run began with."""
    changed = forbidden_changes(
        begun.config.model_dump(), requested.config.model_dump(), MAY_CHANGE
    )
    if begun.data.get("fingerprint") != requested.data["fingerprint"]:
        changed.append(f"the data was '{begun.data.get('source')}' and has changed")
    if changed:
        raise SaganError(
            f"'{run}' contains a run with other settings: {'; '.join(changed)}. "
            "Give the command that it began with, or another --out"
        )
