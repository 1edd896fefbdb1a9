"""From a user's request to a run that can start: configuration, data, checks before resuming."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from sagan.build import build_meta_networks, count_parameters
from sagan.config import (
    MAY_CHANGE,
    Config,
    forbidden_changes,
    parse_config,
    resolve,
    resume_config,
)
from sagan.data import PackedDataset, open_dataset
from sagan.data.cache import find_manifest
from sagan.errors import SaganError
from sagan.hub.names import is_hub_name
from sagan.images.credits import joined_credits
from sagan.images.shape import ImageShape
from sagan.model import Model, open_model
from sagan.nn.channels import has_layout
from sagan.presets import LADDERS, Rung
from sagan.run import directory
from sagan.run.checkpoint import checkpoints
from sagan.run.directory import RunDescription
from sagan.run.run import Run
from sagan.runtime.extras import INSTALL, libraries_installed
from sagan.runtime.memory import check_memory
from sagan.training.config_file import ConfigFile
from sagan.training.transfer import SMALL_SET, Start, start_config, start_from
from sagan.types import Notify, Progress

T = TypeVar("T")

DEFAULT_PRESETS = {32: "cpu-32", 64: "cpu-64", 128: "cpu-128"}  # by the side of a packed set
# The same for shapes that the projected family has no layout for.
OTHER_SHAPES = {32: "classic-32", 64: "classic-64"}
RESUME = "the same command resumes from the newest checkpoint"


@dataclass(frozen=True)
class Candidate:
    """A recipe that a time plan may choose.

    Attributes:
        description: its configuration, and the data.
        from_steps: with fewer steps than this, the candidate before it draws better images.
    """

    description: RunDescription
    from_steps: int = 0


@dataclass(frozen=True)
class TimePlan:
    """What is left to decide about a run with a time limit, once its steps have been timed.

    Attributes:
        candidates: recipes, from the cheapest step to the dearest; one if the user chose it.
        given: the settings that the user gave, which stay.
    """

    candidates: tuple[Candidate, ...]
    given: frozenset[str]


@dataclass(frozen=True)
class Session:
    """A run that is ready to start or to resume.

    Attributes:
        run: the run directory, which need not exist yet.
        description: configuration and data to train with.
        dataset: the images.
        begun: the run to resume, as it was found; None for a new one.
        plan: what `sagan.training.time_plan.make_plan` may choose from, in a new run with a time
            limit. Until then, the description's steps and preset mean nothing.
        start: what a run at its beginning takes from a model; None if it starts from scratch or
            has a checkpoint, which has everything.
        attention_figures: whether to draw them beside the grids of samples.
        trackers: where to record, besides the run directory, as `parse_trackers` returns them.
    """

    run: Run
    description: RunDescription
    dataset: PackedDataset
    begun: RunDescription | None = None
    plan: TimePlan | None = None
    start: Start | None = None
    attention_figures: bool = True
    trackers: tuple[str, ...] = ()

    @property
    def limit_changed(self) -> bool:
        """Whether a run to resume began with another time limit, or without one."""
        minutes = self.description.config.minutes
        return self.begun is not None and self.begun.config.minutes != minutes


def prepare_session(
    source: str,
    run: Path,
    preset: str | None,
    overrides: Mapping[str, Any],
    notify: Notify,
    progress: Progress | None = None,
    start: str | None = None,
    recipe: ConfigFile | None = None,
) -> Session:
    """Resolve the configuration, open the data, and compare both with the run's, if it has begun.

    Args:
        source: the data to train on; packed into the cache if necessary.
        run: the run directory. If it already contains a run, training resumes.
        preset: the preset; None takes that of the run to resume, or of `DEFAULT_PRESETS` the one
            for a packed set's size, for other data cpu-32.
        overrides: configuration fields that replace the preset's. In a run to resume they replace
            those it began with, which need not be given again.
        notify: called with one line for each thing that the user should know.
        progress: called while packing, with images done and images in all.
        start: a model to start from (see `sagan.training.transfer`): a run directory, a model
            file, hf:USER/NAME or a shipped model. A run to resume has it already and does not
            need it.
        recipe: a configuration file, in the place of a preset.

    Raises:
        SaganError: something does not fit; one line says what.
    """
    directory.check_run_folder(run)
    found = Run(run)
    begun = found.description if found.exists else None
    recipe = recipe or ConfigFile(preset, {})
    preset, overrides = preset or recipe.preset, recipe.with_overrides(overrides)
    if "steps" in overrides and begun is not None:
        overrides = {"minutes": 0.0, **overrides}  # what is asked for now replaces a time limit
    asked = preset
    model = _model_to_start_from(found, start)
    if recipe.start and model is None and begun is None:
        notify(f"the run of that configuration started from '{recipe.start}': give it with --from")
    if begun is not None and preset in (None, begun.preset):
        preset, config = begun.preset, resume_config(begun.config, overrides)
    elif model is not None and not begun:
        config = start_config(model, preset if not recipe.whole else None, overrides)
        preset = preset or f"from {model.origin}"
    else:
        if preset is None:
            preset, overrides = _default_preset(source, overrides)
        config = parse_config(overrides) if recipe.whole else resolve(preset, overrides)
    if config.evaluate_every and not libraries_installed():
        notify(f"no evaluations while training: they need {INSTALL}")
    dataset = open_dataset(
        source, config.resolution, colors=config.colors, notify=notify, progress=progress,
        streamed=config.shuffle_window > 0,
    )  # fmt: skip
    config = _follow_data(config, dataset, notify)
    if model is not None and not begun:
        config = _augment_small_set(config, dataset, overrides)
    if config.freeze_d and not model and not (begun and begun.start):
        raise SaganError(
            "freeze_d keeps what a model has learned: give the model with --from, or freeze_d=0"
        )
    data = {
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "images": len(dataset),
        "classes": list(dataset.classes),
        "fit": dataset.fit,
        "credits": _credits(dataset, model, begun),
    }
    description = RunDescription(config, preset, data, begun.start if begun is not None else None)
    if begun is not None:
        _check_resumed(run, begun, description, start)
        _check_memory(run, description)
    taken = None
    if model is not None:
        taken = start_from(model, config, description.classes)
        if begun is not None and begun.start != taken.record:
            raise SaganError(
                f"'{model.origin}' has changed since '{run}' began to start from it: give another "
                "--out"
            )
        description = replace(description, start=taken.record)
    session = Session(found, description, dataset, begun, start=taken)
    if begun is not None or not config.minutes:
        return session
    candidates = [Candidate(description)]
    if not asked and not model:  # which would decide the networks
        rungs = [r for r in _at_most(LADDERS, config.shape.side) if _takes(r.preset, config.shape)]
        rungs = rungs or [Rung(preset=preset)]
        candidates = list(_candidates(rungs, overrides, data, dataset))
    return replace(session, plan=TimePlan(tuple(candidates), frozenset(overrides)))


def _model_to_start_from(run: Run, start: str | None) -> Model | None:
    """Return the model that a run starts from; None if it starts from scratch, or has started.

    A run saves what it took before its first step, so the model is only needed until then.
    """
    if not run.exists:
        return open_model(start) if start is not None else None
    begun = run.description.start
    if not begun or checkpoints(run.path):
        return None
    if is_hub_name(begun.model) and start != begun.model:
        # A run directory may come from anyone, and must not make this machine download a file.
        raise SaganError(
            f"'{run}' was to start from '{begun.model}', and has no checkpoint yet: give --from "
            f"{begun.model} again, or another --out"
        )
    return open_model(begun.model)


def _credits(dataset: PackedDataset, model: Model | None, begun: RunDescription | None) -> str:
    """Return who made the images, also those that a model to start from was trained on."""
    if begun is not None and begun.start is not None:
        return begun.credits
    return joined_credits(dataset.credits, model.credits if model is not None else "")


def _augment_small_set(
    config: Config, dataset: PackedDataset, overrides: Mapping[str, Any]
) -> Config:
    """Switch adaptive augmentation on for a small set, unless it is set or the loss forbids it."""
    if "augment" in overrides or config.augment != 0 or config.loss == "wasserstein-gp":
        return config
    if len(dataset) >= SMALL_SET:
        return config
    return config.model_copy(update={"augment": "adaptive"})


def _default_preset(source: str, overrides: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the preset for this data, and the overrides with a packed set's size and colors."""
    manifest = find_manifest(source)
    if manifest is None:
        return _at_most(DEFAULT_PRESETS, 0), overrides
    shape = manifest.shape
    of_data = {"resolution": shape.resolution, "colors": shape.colors}
    preset = _at_most(DEFAULT_PRESETS, shape.side)
    if not _takes(preset, shape):
        preset = _at_most(OTHER_SHAPES, shape.side)
    return preset, of_data | dict(overrides)


def _takes(preset: str, shape: ImageShape) -> bool:
    """Return whether the networks of a preset have a layout for a shape."""
    return has_layout(resolve(preset).family, shape)


def _at_most(by_side: Mapping[int, T], side: int) -> T:
    """Return the entry for the largest side up to this one, or else for the smallest."""
    return by_side[max((s for s in by_side if s <= side), default=min(by_side))]


def _candidates(
    rungs: Sequence[Rung],
    overrides: Mapping[str, Any],
    data: dict[str, Any],
    dataset: PackedDataset,
) -> Iterator[Candidate]:
    """Yield the recipes that a time plan may choose from."""
    for rung in rungs:
        config = _follow_data(resolve(rung.preset, overrides), dataset, lambda _: None)
        yield Candidate(RunDescription(config, rung.preset, data), rung.from_steps)


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


def _check_memory(run: Path, description: RunDescription) -> None:
    """Refuse a run with larger networks than memory allows: its config.json may be anyone's."""
    networks = build_meta_networks(description.config, len(description.classes))
    # Each parameter with its gradient, Adam's two moments and, in G, its average.
    check_memory(5 * 4 * sum(map(count_parameters, networks)), str(run), "training its networks")


def _check_resumed(
    run: Path, begun: RunDescription, requested: RunDescription, start: str | None
) -> None:
    """Refuse to resume with a configuration, data or start other than those the run began with."""
    changed = forbidden_changes(
        begun.config.model_dump(), requested.config.model_dump(), MAY_CHANGE
    )
    if begun.data.get("fingerprint") != requested.data["fingerprint"]:
        changed.append(f"the data was '{begun.data.get('source')}' and has changed")
    origin = begun.start.model if begun.start is not None else None
    if start is not None and str(Path(start)) != origin:
        before = f"from '{origin}'" if origin is not None else "without --from"
        changed.append(f"it began {before} and not from '{start}'")
    if changed:
        raise SaganError(
            f"'{run}' contains a run with other settings: {'; '.join(changed)}. "
            "Give the command that it began with, or another --out"
        )
