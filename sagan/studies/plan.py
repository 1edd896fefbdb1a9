"""Which runs a study has: from what the user asks for and what is in its folder already."""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sagan.config import MAY_CHANGE, Config, forbidden_changes, parse_config, resolve, resume_config
from sagan.errors import SaganError
from sagan.storage.files import read_small, write_bytes
from sagan.studies.results import Result, path_of
from sagan.studies.run import Run, run_name
from sagan.studies.study import Study, Variant

# Log lines, checkpoints and looks at attention of a run, at least where it has so many steps; a
# look draws pictures, which take as long as dozens of steps.
RECORDS, SAVES, LOOKS, APART = 60, 4, 10, 100
MAY_DIFFER = frozenset(MAY_CHANGE) - {"steps"}  # between runs that are compared


@dataclass(frozen=True)
class Request:
    """What the user asks for, in the user's words.

    Attributes:
        study: its name.
        data: where the pictures are.
        out: the study's folder; one that holds a study goes on.
        preset: the recipe.
        settings: fields of the configuration that replace the recipe's.
        variants: names; empty for the study's default ones.
        seeds: how many, from 0 on.
        steps: of each run; None for the preset's, or what the minutes allow.
        budget_minutes: for everything that is still to be done; None without a limit.
        jobs: runs at a time.
    """

    study: str
    data: str
    out: Path
    preset: str
    settings: Mapping[str, Any]
    variants: Sequence[str]
    seeds: int
    steps: int | None
    budget_minutes: float | None
    jobs: int

    def command(self) -> str:
        """The command line that asks for it."""
        words = ["sagan", "study", self.study, "--data", self.data, "--out", str(self.out)]
        words += ["--preset", self.preset, "--seeds", str(self.seeds)]
        if self.variants:
            words += ["--variants", ",".join(self.variants)]
        for key, value in self.settings.items():
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += ["--set", f"{key}={text}"]
        if self.steps is not None:
            words += ["--steps", str(self.steps)]
        if self.budget_minutes is not None:
            words += ["--budget-minutes", f"{self.budget_minutes:g}"]
        if self.jobs > 1:
            words += ["--jobs", str(self.jobs)]
        return shlex.join(words)


class SplitRecord(BaseModel):
    """Which pictures of a split, and how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fingerprint: str
    pictures: int


class DataRecord(BaseModel):
    """Which pictures a study looks at: where they came from, their side, their classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str
    size: int
    classes: int
    train: SplitRecord
    test: SplitRecord | None = None


class StudyRecord(BaseModel):
    """OUT/study.json: what all runs of a study share.

    Attributes:
        format: of this file.
        study: its name.
        preset: of the runs.
        config: common to all runs; variants and seeds depart from it.
        data: which pictures.
        commands: that had a part in it, the first one first.
        runs: names of all that were asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    study: str
    preset: str
    config: Config
    data: DataRecord
    commands: list[str]
    runs: list[str] = []


def read_record(out: Path) -> StudyRecord | None:
    """What OUT holds, None if it holds no study.

    Raises:
        SaganError: study.json is damaged, or gone from beside what belongs to it.
    """
    path = out / "study.json"
    if not path.is_file():
        for left in ("results", "runs"):
            if (out / left).exists():
                raise SaganError(
                    f"{out} holds {left}, but no study.json that says of which study: give "
                    "another --out"
                )
        return None
    try:
        return StudyRecord.model_validate_json(read_small(path))
    except ValidationError:
        raise SaganError(f"{path} is damaged: give another --out") from None


def write_record(out: Path, record: StudyRecord) -> None:
    """Keep what all runs share; the run directories beside it are not for version control."""
    write_bytes(
        out / "study.json", (record.model_dump_json(indent=2, exclude_none=True) + "\n").encode()
    )
    write_bytes(out / ".gitignore", b"/runs/\n/.lock\n")


def chosen_variants(study: Study, names: Sequence[str]) -> list[Variant]:
    """The variants of these names, or the default ones.

    Raises:
        SaganError: there is no such variant.
    """
    known = [variant.name for variant in study.variants]
    for name in names:
        if name not in known:
            raise SaganError(f"{study.name} has no variant {name!r}: there are {', '.join(known)}")
    return [v for v in study.variants if (v.name in names if names else v.default)]


def common_config(study: Study, request: Request, begun: StudyRecord | None) -> Config:
    """What all variants share; its steps are the preset's where none are asked for.

    A study that goes on keeps to its preset as it was when it began.

    Raises:
        SaganError: a setting does not fit, or is not the user's to change here.
    """
    steps = {} if request.steps is None else {"steps": request.steps}
    for key in ("seed", "steps"):
        if key in request.settings:
            raise SaganError(f"--set {key} decides nothing here: use --{key.removesuffix('s')}s")
    for key, value in study.settings.items():
        if request.settings.get(key, value) != value:
            raise SaganError(f"in this study {key} is {value}: leave out --set {key}")
    # The study measures by itself, at the same steps of every run.
    fixed = {**study.settings, **steps, "evaluate_every": 0}
    settings = {**request.settings, **fixed}
    if begun is not None and begun.preset == request.preset:
        config = resume_config(begun.config, settings)
    else:
        config = resolve(request.preset, settings)
    for key in set.intersection(*(set(variant.change(config)) for variant in study.variants)):
        if key in request.settings:
            raise SaganError(f"every variant has its own {key}: leave out --set {key}")
    return config


def runs_of(
    variants: Sequence[Variant], config: Config, seeds: int, request: Request, folder: Path
) -> Iterator[Run]:
    """Every variant with every seed: all variants of the first seed before those of the second.

    Args:
        variants: to run.
        config: common to all.
        seeds: how many.
        request: names study and preset.
        folder: of the run directories.

    Raises:
        SaganError: a variant does not fit the configuration.
    """
    for seed in range(seeds):
        for variant in variants:
            changed = config_of(variant, seed, config)
            place = folder / run_name(variant.name, seed)
            yield Run(request.study, variant.name, changed, request.preset, place)


def config_of(variant: Variant, seed: int, config: Config) -> Config:
    """A run's configuration, from what all have in common.

    Raises:
        SaganError: the variant does not fit.
    """
    every = {
        "log_every": max(1, min(config.log_every, config.steps // RECORDS)),
        "checkpoint_every": max(1, min(config.checkpoint_every, config.steps // SAVES)),
        "sample_every": min(config.sample_every, max(APART, config.steps // LOOKS)),
    }
    try:
        return parse_config(config.model_dump() | {"seed": seed, **every, **variant.change(config)})
    except SaganError as error:
        raise SaganError(f"variant {variant.name}: {error}") from None


def check_configurations(study: Study, record: StudyRecord, results: Sequence[Result]) -> None:
    """Refuse to compare runs of other configurations than the study's.

    Raises:
        SaganError: a result is of one, or of a variant that there is not.
    """
    variants = {variant.name: variant for variant in study.variants}
    for result in results:
        if result.variant not in variants:
            raise SaganError(
                f"there is a result of {result.name}, and the study {study.name} has no such "
                "variant: move it to where it belongs"
            )
        wanted = config_of(variants[result.variant], result.seed, record.config)
        apart = _departures(wanted, result.config, MAY_DIFFER)
        if apart:
            raise SaganError(
                f"the result of {result.name} is of another configuration than study.json "
                f"has, {apart[0]}: delete it to run it again"
            )


def _departures(wanted: Config, config: Config, allowed: Collection[str]) -> list[str]:
    """What differs between two configurations, as `forbidden_changes` says it."""
    return forbidden_changes(
        wanted.model_dump(mode="json"), config.model_dump(mode="json"), allowed
    )


def is_pending(run: Run, out: Path) -> bool:
    """Whether a run has left no result yet."""
    return not path_of(out, run.name).is_file()


def check_same(out: Path, begun: StudyRecord, study: str, config: Config) -> None:
    """Refuse to go on with another study or configuration than OUT began with.

    Raises:
        SaganError: it did; the message says with which.
    """
    differences = [f"the study was {begun.study}"] if begun.study != study else []
    # Before the data are looked at, conditional may be undecided.
    undecided = {"conditional"} if config.conditional is None else set()
    differences += _departures(begun.config, config, MAY_DIFFER | undecided)
    if differences:
        raise SaganError(
            f"{out} holds a study that began otherwise: {'; '.join(differences)}. "
            "Give the same command as then, or another --out"
        )
