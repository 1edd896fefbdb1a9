"""Which runs a study has: from the user's request and what its folder already contains."""

import math
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sagan.config import MAY_CHANGE, Config, forbidden_changes, parse_config, resolve, resume_config
from sagan.errors import SaganError
from sagan.nn.precision import resolve_precision
from sagan.runtime.processes import join_processes
from sagan.studies.budget import PROBE_STEPS
from sagan.studies.record import StudyRecord, describe_data, read_record
from sagan.studies.results import Result, result_path
from sagan.studies.run import StudyData, StudyRun, run_name
from sagan.studies.study import Study, Variant

# Bounds on how often a run logs, saves and generates sample grids, whatever its steps. A grid takes
# as long as dozens of steps, so its number is bounded from above.
MIN_LOG_LINES, MIN_CHECKPOINTS = 60, 4
MAX_SAMPLE_GRIDS, MIN_STEPS_BETWEEN_GRIDS = 10, 100
MAY_DIFFER = frozenset(MAY_CHANGE) - {"steps"}  # between runs that are compared


@dataclass(frozen=True)
class StudyRequest:
    """What the user asks for, in the user's words.

    Attributes:
        study: name of the study.
        data: where the images are.
        out: the study's folder; if it already contains the study, the study resumes.
        preset: preset of all runs.
        settings: fields of the configuration that replace the preset's.
        variants: names; empty for the study's default variants.
        seeds: number of seeds, counted from 0.
        steps: of each run; None for the preset's, or as many as the budget allows.
        budget_minutes: for all runs that are still missing; None for no limit.
        jobs: number of runs at a time.

    Raises:
        SaganError: steps and minutes are both given, or the minutes are not finite.
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

    def __post_init__(self) -> None:
        if self.budget_minutes is not None and not math.isfinite(self.budget_minutes):
            raise SaganError(f"--budget-minutes {self.budget_minutes} is not a number of minutes")
        if self.steps is not None and self.budget_minutes is not None:
            raise SaganError("--steps and --budget-minutes both set the length of runs: give one")

    def command(self) -> str:
        """Return the command line of this request."""
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


@dataclass(frozen=True)
class StudyPlan:
    """The runs of a study, and the configuration that they share.

    `draft_plan` makes one without the data; `for_data` and, under a budget, `with_steps` return
    it with the rest decided. The plan itself never changes.

    Attributes:
        study: the study.
        request: what the user asked for.
        record: contents of study.json; None for a new study.
        variants: the variants to run.
        config: common to all runs.
    """

    study: Study
    request: StudyRequest
    record: StudyRecord | None
    variants: Sequence[Variant]
    config: Config

    @property
    def chooses_steps(self) -> bool:
        """Whether the budget decides the steps: only in a new study, so that runs are equal."""
        return not self.record and self.request.budget_minutes is not None

    def runs(self) -> list[StudyRun]:
        """Return every variant with every seed, seed by seed.

        Raises:
            SaganError: a variant does not fit the configuration.
        """
        folder = self.request.out / "runs"
        return list(self._runs(self.config, self.request.seeds, folder))

    def pending_runs(self) -> list[StudyRun]:
        """Return the runs that have no result yet."""
        out = self.request.out
        return [run for run in self.runs() if not result_path(out, run.name).is_file()]

    def probe_runs(self, folder: Path) -> list[StudyRun]:
        """Return a run of `PROBE_STEPS` steps of each variant, with its directory in `folder`."""
        short = self.config.model_copy(update={"steps": PROBE_STEPS})
        return list(self._runs(short, 1, folder))

    def _runs(self, config: Config, seeds: int, folder: Path) -> Iterator[StudyRun]:
        for seed in range(seeds):
            for variant in self.variants:
                yield StudyRun(
                    study=self.study.name,
                    variant=variant.name,
                    config=config_of(variant, seed, config),
                    preset=self.request.preset,
                    folder=folder / run_name(variant.name, seed),
                )

    def for_data(self, data: StudyData) -> "StudyPlan":
        """Return the plan with what the data and, in a new study, this machine decide.

        Raises:
            SaganError: the study began with other images or another configuration.
        """
        config = self.config.with_labels(data.train.labels is not None)
        if not self.record:
            # Named, so that runs on other machines compute in the same precision.
            precision = str(resolve_precision(config.precision, join_processes().device))
            named = {"precision": precision.removeprefix("torch.")}
            return replace(self, config=config.model_copy(update=named))
        check_same_study(self.request.out, self.record, self.study.name, config)
        # The same images may have moved.
        found = describe_data(data).model_copy(update={"source": self.record.data.source})
        if found != self.record.data:
            raise SaganError(
                f"'{self.request.out}' contains a study of other images: give the same --data as "
                "before, or another --out"
            )
        return replace(self, config=config)

    def with_steps(self, steps: int) -> "StudyPlan":
        """Return the plan with this number of steps for each run."""
        return replace(self, config=self.config.model_copy(update={"steps": steps}))

    def to_record(self, data: StudyData) -> StudyRecord:
        """Return the contents of study.json, with this request's command and runs added."""
        commands = self.record.commands if self.record else []
        runs = self.record.runs if self.record else []
        return StudyRecord(
            study=self.study.name,
            preset=self.request.preset,
            config=self.config,
            data=describe_data(data),
            commands=list(dict.fromkeys([*commands, self.request.command()])),
            runs=list(dict.fromkeys([*runs, *(run.name for run in self.runs())])),
        )


def draft_plan(study: Study, request: StudyRequest) -> StudyPlan:
    """Plan a study without looking at its data.

    Raises:
        SaganError: a variant or setting does not fit, or the folder contains another study.
    """
    record = read_record(request.out)
    config = common_config(study, request, record)
    if record is not None:
        check_same_study(request.out, record, study.name, config)
    plan = StudyPlan(study, request, record, chosen_variants(study, request.variants), config)
    plan.runs()  # so that a variant that does not fit is reported before anything is packed
    return plan


def chosen_variants(study: Study, names: Sequence[str]) -> list[Variant]:
    """Return the variants with these names, or the default ones if there are no names.

    Raises:
        SaganError: a name is unknown.
    """
    known = [variant.name for variant in study.variants]
    for name in names:
        if name not in known:
            raise SaganError(
                f"the study {study.name} has no variant '{name}': there are {', '.join(known)}"
            )
    return [v for v in study.variants if (v.name in names if names else v.default)]


def common_config(study: Study, request: StudyRequest, record: StudyRecord | None) -> Config:
    """Return the configuration that all variants share.

    Its steps are those of the request, else of the study that resumes, else of the preset. A study
    that resumes keeps its preset as it was when the study began.

    Raises:
        SaganError: a setting does not fit, or cannot be changed in a study.
    """
    for key in ("seed", "steps"):
        if key in request.settings:
            raise SaganError(f"--set {key} has no effect here: use --{key.removesuffix('s')}s")
    for key, value in study.settings.items():
        if request.settings.get(key, value) != value:
            raise SaganError(f"in this study {key} is {value}: leave out --set {key}")
    steps = request.steps
    if record is not None and not steps:
        steps = record.config.steps
    # The study evaluates by itself, at the same steps in every run.
    fixed = {
        **study.settings,
        "evaluate_every": 0,
        **({"steps": steps} if steps is not None else {}),
    }
    settings = {**request.settings, **fixed}
    if record is not None and record.preset == request.preset:
        config = resume_config(record.config, settings)
    else:
        config = resolve(request.preset, settings)
    for key in set.intersection(*(set(variant.change(config)) for variant in study.variants)):
        if key in request.settings:
            raise SaganError(f"every variant has its own {key}: leave out --set {key}")
    return config


def config_of(variant: Variant, seed: int, config: Config) -> Config:
    """Return a run's configuration, given the one that all runs share.

    Raises:
        SaganError: the variant does not fit.
    """
    intervals = {
        "log_every": max(1, min(config.log_every, config.steps // MIN_LOG_LINES)),
        "checkpoint_every": max(1, min(config.checkpoint_every, config.steps // MIN_CHECKPOINTS)),
        "sample_every": min(
            config.sample_every, max(MIN_STEPS_BETWEEN_GRIDS, config.steps // MAX_SAMPLE_GRIDS)
        ),
    }
    own = {"seed": seed, **intervals, **variant.change(config)}
    try:
        return parse_config(config.model_dump() | own)
    except SaganError as error:
        raise SaganError(f"variant {variant.name}: {error}") from None


def check_configurations(study: Study, record: StudyRecord, results: Sequence[Result]) -> None:
    """Refuse to report runs with another configuration than the study's.

    Raises:
        SaganError: a result has another configuration, or a variant that the study does not have.
    """
    variants = {variant.name: variant for variant in study.variants}
    for result in results:
        if result.variant not in variants:
            raise SaganError(
                f"there is a result of {result.name}, but the study {study.name} has no such "
                "variant: move it to where it belongs"
            )
        expected = config_of(variants[result.variant], result.seed, record.config)
        changed = _differences(expected, result.config, MAY_DIFFER)
        if changed:
            raise SaganError(
                f"the result of {result.name} has another configuration than study.json: "
                f"{changed[0]}; delete it to run it again"
            )


def check_same_study(out: Path, record: StudyRecord, study: str, config: Config) -> None:
    """Refuse to resume another study, or one with another configuration.

    Raises:
        SaganError: OUT contains such a study; the message says what differs.
    """
    differences = [f"the study was {record.study}"] if record.study != study else []
    # Until the data is open, `conditional` may be undecided.
    undecided = set() if config.conditional is not None else {"conditional"}
    differences += _differences(record.config, config, MAY_DIFFER | undecided)
    if differences:
        raise SaganError(
            f"'{out}' contains a study that began otherwise: {'; '.join(differences)}. "
            "Give the same command as before, or another --out"
        )


def _differences(expected: Config, config: Config, allowed: Collection[str]) -> list[str]:
    """Return what differs between two configurations, as `forbidden_changes` words it."""
    return forbidden_changes(
        expected.model_dump(mode="json"), config.model_dump(mode="json"), allowed
    )
