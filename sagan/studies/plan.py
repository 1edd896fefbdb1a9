"""Which runs a study has: from the user's request and what its folder already contains."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sagan.config import MAY_CHANGE, Config, forbidden_changes, parse_config, resolve, resume_config
from sagan.errors import SaganError
from sagan.nn.precision import resolve_precision
from sagan.runtime.processes import join_processes
from sagan.studies.budget import PROBE_STEPS
from sagan.studies.record import PlanRecord, StudyRecord, describe_data, read_record
from sagan.studies.request import StudyRequest
from sagan.studies.results import Result, result_path
from sagan.studies.run import FINAL_SAMPLES, StudyData, StudyRun, run_name
from sagan.studies.study import Study, Variant

# Bounds on how often a run logs, saves and generates sample grids, whatever its steps. A grid takes
# as long as dozens of steps, so its number is bounded from above.
MIN_LOG_LINES, MIN_CHECKPOINTS = 60, 4
MAX_SAMPLE_GRIDS, MIN_STEPS_BETWEEN_GRIDS = 10, 100
MAY_DIFFER = frozenset(MAY_CHANGE) - {"steps"}  # between runs that are compared
DEFAULT_SEEDS = 3  # of a study without a plan
PILOT_FOLDER, FIRST_PILOT_SEED = "pilot", 1000  # a pilot shares no seed with the study
PILOT_SHARE = 0.1  # of a run's steps


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

    @property
    def seeds(self) -> int:
        """The number of seeds that are asked for, or else planned."""
        if self.request.seeds is not None:
            return self.request.seeds
        return self.laid_down.seeds if self.laid_down is not None else DEFAULT_SEEDS

    @property
    def laid_down(self) -> PlanRecord | None:
        """What study.json says was laid down before the first result, if anything."""
        return self.record.plan if self.record is not None else None

    def stages(self) -> list[int]:
        """Return the numbers of seeds after which to look at the results, the last one at last."""
        looks = self.laid_down.looks if self.laid_down is not None else []
        return [*(look for look in looks if look < self.seeds), self.seeds]

    def runs(self) -> list[StudyRun]:
        """Return every variant with every seed, seed by seed.

        Raises:
            SaganError: a variant does not fit the configuration.
        """
        folder = self.request.out / "runs"
        return list(self._runs(self.config, range(self.seeds), folder))

    def pending_runs(self, seeds: int | None = None) -> list[StudyRun]:
        """Return the runs of the first seeds, by default of all, that have no result yet."""
        out, bound = self.request.out, seeds if seeds is not None else math.inf
        return [
            run
            for run in self.runs()
            if run.config.seed < bound and not result_path(out, run.name).is_file()
        ]

    def probe_runs(self, folder: Path) -> list[StudyRun]:
        """Return a run of `PROBE_STEPS` steps of each variant, with its directory in `folder`."""
        short = self.config.model_copy(update={"steps": PROBE_STEPS})
        return list(self._runs(short, range(1), folder))

    def pilot_runs(self) -> list[StudyRun]:
        """Return the runs of the pilot: the variants with seeds and fewer steps of its own."""
        pilot = self.request.pilot
        assert pilot is not None
        steps = pilot.steps or max(PROBE_STEPS, round(PILOT_SHARE * self.config.steps))
        short = self.config.model_copy(update={"steps": min(steps, self.config.steps)})
        seeds = range(FIRST_PILOT_SEED, FIRST_PILOT_SEED + pilot.seeds)
        return list(self._runs(short, seeds, self.request.out / PILOT_FOLDER / "runs"))

    @property
    def chosen_samples(self) -> int | None:
        """Number of samples to measure of each run, if the user chose one."""
        return self.record.samples if self.record is not None else self.request.samples

    @property
    def samples(self) -> int:
        """Number of samples to measure: by default as many as the images that a run sees."""
        if self.chosen_samples is not None:
            return self.chosen_samples
        seen = math.inf if self.chooses_steps else self.config.steps * self.config.batch_size
        return int(min(FINAL_SAMPLES, seen))

    def _runs(self, config: Config, seeds: Iterable[int], folder: Path) -> Iterator[StudyRun]:
        for seed in seeds:
            for variant in self.variants:
                yield StudyRun(
                    study=self.study.name,
                    variant=variant.name,
                    config=config_of(variant, seed, config),
                    preset=self.request.preset,
                    folder=folder / run_name(variant.name, seed),
                    samples=self.samples,
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

    def to_record(self, data: StudyData, laid_down: PlanRecord | None = None) -> StudyRecord:
        """Return the contents of study.json, with this request's command and runs added.

        Args:
            data: the images.
            laid_down: the plan, if this request laid it down.
        """
        commands = self.record.commands if self.record else []
        runs = self.record.runs if self.record else []
        seeds = laid_down.seeds if laid_down is not None else self.seeds
        asked = self._runs(self.config, range(seeds), self.request.out)
        return StudyRecord(
            study=self.study.name,
            preset=self.request.preset,
            config=self.config,
            data=describe_data(data),
            commands=list(dict.fromkeys([*commands, self.request.command()])),
            runs=list(dict.fromkeys([*runs, *(run.name for run in asked)])),
            samples=self.chosen_samples,
            plan=laid_down if laid_down is not None else self.laid_down,
        )


def draft_plan(study: Study, request: StudyRequest) -> StudyPlan:
    """Plan a study without looking at its data.

    Raises:
        SaganError: a variant or setting does not fit, the folder contains another study, or more is
            asked for than was planned.
    """
    record = read_record(request.out)
    config = common_config(study, request, record)
    if record is not None:
        check_same_study(request.out, record, study.name, config)
        if request.samples not in (None, record.samples):
            measured = "another number of" if record.samples is None else f"{record.samples:,}"
            raise SaganError(
                f"'{request.out}' measures {measured} samples of each run: leave out --num, or "
                "give another --out"
            )
    planned = record.plan if record is not None else None
    names = request.variants or (planned.variants if planned is not None else ())
    plan = StudyPlan(study, request, record, chosen_variants(study, names), config)
    if planned is not None:
        _check_planned(request.out, planned, plan)
    # So that what does not fit is reported before anything is packed.
    plan.runs()
    if request.pilot is not None:
        study.sizes_of(request.pilot.deltas)
    return plan


def _check_planned(out: Path, planned: PlanRecord, plan: StudyPlan) -> None:
    """Refuse what was not planned, since verdicts would no longer be as certain as they say.

    Raises:
        SaganError: there are more seeds, or other variants, than the plan in OUT has.
    """
    others = [variant.name for variant in plan.variants if variant.name not in planned.variants]
    if others:
        raise SaganError(
            f"'{out}' is planned without the variant '{others[0]}': give another --out"
        )
    if plan.seeds > planned.seeds:
        raise SaganError(
            f"'{out}' is planned for {planned.seeds} seeds: give at most as many, or another --out"
        )


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
    if request.settings.get("minutes"):
        raise SaganError(
            "all runs of a study have equal steps: give --steps or --budget-minutes instead of "
            "--set minutes"
        )
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
        "minutes": 0.0,
        **({"steps": steps} if steps is not None else {}),
    }
    settings = {**request.settings, **fixed}
    if record is not None and record.preset == request.preset:
        config = resume_config(record.config, settings)
    else:
        config = resolve(request.preset, settings)
    if config.augment == "adaptive":
        if "augment" in request.settings:
            raise SaganError(
                "augment=adaptive would differ between variants: give a probability, or leave it "
                "out"
            )
        config = config.model_copy(update={"augment": 0.0})
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
    """Refuse to report runs of another study: their plan, configuration or images differ.

    Raises:
        SaganError: a result has another configuration, a variant that the study does not have, a
            variant or seed that was not planned, or numbers of other images.
    """
    variants = {variant.name: variant for variant in study.variants}
    images = {split.fingerprint for split in (record.data.train, record.data.test) if split}
    for result in results:
        if result.variant not in variants:
            raise SaganError(
                f"there is a result of {result.name}, but the study {study.name} has no such "
                "variant: move it to where it belongs"
            )
        if record.plan is not None and not record.plan.has(result.variant, result.seed):
            raise SaganError(
                f"there is a result of {result.name}, which was not planned: move it to where it "
                "belongs"
            )
        if not result.fingerprints <= images:
            raise SaganError(
                f"the result of {result.name} was measured on other images than study.json names: "
                "move it to where it belongs, or delete it to run it again"
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
