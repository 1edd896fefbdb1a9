"""Carry out a study: open its data, decide its steps, do the runs that are missing, report.

What a study has measured so far is in its results. After a kill the same request continues with
the runs that have no result, and each of these resumes from its last checkpoint. A planned study
ends at the first look at which every claim has a verdict.
"""

import functools
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sagan.data import open_dataset
from sagan.display import PackingProgress, PlainReporter, StageProgress, duration, reporter_for
from sagan.errors import SaganError, counted
from sagan.run.directory import alone_in
from sagan.runtime.processes import join_processes, refuse_launcher
from sagan.studies import workers
from sagan.studies.analysis.report import write_reports
from sagan.studies.analysis.table import ResultTable, all_decided
from sagan.studies.budget import (
    PROBE_STEPS,
    Cost,
    affordable_steps,
    mean_concurrency,
    measure_cost,
)
from sagan.studies.cluster import run_on_cluster
from sagan.studies.definitions import STUDIES
from sagan.studies.pilot import lay_down, plan_lines
from sagan.studies.plan import PILOT_FOLDER, StudyPlan, check_configurations, draft_plan
from sagan.studies.record import PlanRecord, StudyRecord, read_record, write_record
from sagan.studies.request import StudyRequest
from sagan.studies.results import Result, check_same_protocol, read_results, write_result
from sagan.studies.run import RunMetrics, RunObserver, StudyData, StudyRun
from sagan.studies.study import Study
from sagan.training.recorder import Reporter
from sagan.types import Notify


def run_study(
    request: StudyRequest,
    dry_run: bool,
    console: Console,
    say: Notify,
    device: str | None = None,
) -> None:
    """Do the runs of a study that are still missing, and write its reports.

    Args:
        request: what the user asks for.
        dry_run: only say which runs there would be and what they would cost.
        console: where runs show their progress.
        say: called with each line for the user.
        device: where to compute (see `choose_device`).

    Raises:
        SaganError: something does not fit.
        Interrupted: by a signal; the same request resumes.
    """
    refuse_launcher("start sagan study without it, and give --jobs")
    join_processes(device)
    started = time.monotonic()
    draft = draft_plan(STUDIES[request.study], request)
    if draft.record is not None and not request.steps:
        say(f"resuming with {draft.config.steps:,} steps, as the study began")
    jobs = request.jobs or _default_jobs(request, len(draft.runs()))
    engine = StudyEngine(draft, console, say, started, jobs)
    if dry_run:
        engine.show_plan()
        return
    with alone_in(request.out):
        if read_record(request.out) != draft.record:
            raise SaganError(
                f"another process has changed '{request.out}' meanwhile: give the command again"
            )
        if request.pilot is not None:
            engine.plan()
        else:
            engine.run()


def _default_jobs(request: StudyRequest, runs: int) -> int:
    """Return how many of a study's runs to do at a time: on a cluster all, since it queues them."""
    return runs if request.cluster is not None else workers.suitable_jobs(runs)


@dataclass(frozen=True)
class StudyEngine:
    """Carries out a plan.

    Attributes:
        draft: the plan before the data is open.
        console: where runs show their progress.
        say: called with each line for the user.
        started: when the user's request came, on the clock of `time.monotonic`.
        jobs: number of runs at a time.
    """

    draft: StudyPlan
    console: Console
    say: Notify
    started: float
    jobs: int

    @property
    def study(self) -> Study:
        """The study."""
        return self.draft.study

    @property
    def request(self) -> StudyRequest:
        """What the user asks for."""
        return self.draft.request

    def show_plan(self) -> None:
        """Say which runs are missing and what they would cost."""
        if not self.draft.pending_runs():
            self.say("all runs already have results")
            return
        data = self._open_data()
        plan = self.draft.for_data(data)
        costs = self._measure_costs(plan, data)
        if plan.chooses_steps:
            plan = self._with_affordable_steps(plan, costs)
        for line in cost_lines(plan, costs, self.jobs):
            self.say(line)

    def plan(self) -> None:
        """Plan the study from a pilot, unless it is planned, and say what was laid down.

        Raises:
            SaganError: there are results already, or the plan is another one.
        """
        assert self.request.pilot is not None
        record, results = _read_study(self.study, self.request.out)
        laid_down = record.plan if record is not None else None
        if laid_down is None and results:
            raise SaganError(
                f"'{self.request.out}' contains results, and a plan comes before the first one: "
                "give another --out"
            )
        if laid_down is None:
            laid_down = self._lay_down()
        for number, size in self.study.sizes_of(self.request.pilot.deltas).items():
            planned = laid_down.deltas[number]
            if size != planned:
                raise SaganError(
                    f"'{self.request.out}' is planned with --delta {number}={planned:g}: leave it "
                    "out, or give another --out"
                )
        for line in plan_lines(self.draft, laid_down, self._pilot_results(), self.jobs):
            self.say(line)

    def _lay_down(self) -> PlanRecord:
        """Do the runs of the pilot that are missing, and write study.json with the plan."""
        data = self._open_data()
        plan = self.draft.for_data(data)
        runs, folder = plan.pilot_runs(), self.request.out / PILOT_FOLDER
        record = plan.to_record(data)
        _keep_if_same(folder, record)
        earlier = {result.name: result for result in self._pilot_results()}
        pending = [
            run for run in runs if run.name not in earlier or earlier[run.name].config != run.config
        ]
        if pending:
            self._prepare(data)
            self.say(f"pilot: {runs_of(pending, runs[0].config.steps)}")
            self._run(pending, data, folder)
        shutil.rmtree(folder / "runs", ignore_errors=True)
        results = self._pilot_results()
        check_same_protocol(folder, results)
        laid_down = lay_down(plan, results)
        write_record(self.request.out, plan.to_record(data, laid_down))
        return laid_down

    def _pilot_results(self) -> list[Result]:
        """Return the results of the pilot that is asked for, and of no other."""
        names = {run.name for run in self.draft.pilot_runs()}
        found = read_results(self.request.out / PILOT_FOLDER, self.study.name)
        return [result for result in found if result.name in names]

    def run(self) -> None:
        """Do the runs that have no result, if there are any, and write reports on all runs."""
        # First of all: results that cannot be reported are better found before hours of training.
        _read_study(self.study, self.request.out)
        plan = self.draft
        data: StudyData | None = None
        try:
            for seeds in plan.stages():
                if plan.pending_runs(seeds):
                    if data is None:
                        plan, data = self._begin()
                    pending = plan.pending_runs(seeds)
                    self.say(f"{runs_of(pending, plan.config.steps)}{self._at_a_time}")
                    self._run(pending, data, self.request.out)
                if plan.laid_down is not None and self._all_decided(plan.laid_down):
                    self.say(f"every claim has its verdict after {seeds} seeds")
                    break
        finally:  # a study that is stopped still reports the results it has
            self._report()

    def _begin(self) -> tuple[StudyPlan, StudyData]:
        """Open the data, decide what is open, write study.json, and prepare what runs share."""
        data = self._open_data()
        plan = self.draft.for_data(data)
        if plan.chooses_steps:
            plan = self._with_affordable_steps(plan, self._measure_costs(plan, data))
        write_record(self.request.out, plan.to_record(data))
        self._prepare(data)
        return plan, data

    @property
    def _at_a_time(self) -> str:
        return f", {self.jobs} at a time" if self.jobs > 1 else ""

    def _all_decided(self, laid_down: PlanRecord) -> bool:
        _, results = _read_study(self.study, self.request.out)
        return all_decided(ResultTable(self.study, results, laid_down).outcomes(), laid_down)

    def _run(self, pending: Sequence[StudyRun], data: StudyData, folder: Path) -> None:
        if self.request.cluster is not None:
            results = run_on_cluster(
                pending, data, self.jobs, self.request.cluster, folder.absolute() / "jobs"
            )
        elif self.jobs == 1:
            results = self._run_in_turn(pending, data)
        else:
            results = workers.run_in_parallel(pending, data, self.jobs)
        for number, (run, result) in enumerate(results, start=1):
            write_result(folder, run.name, result)
            self.say(
                f"{number} of {len(pending)}: {run.name} took {duration(result.cost['whole'])}, "
                + headline(self.study, result)
            )

    def _run_in_turn(
        self, runs: Sequence[StudyRun], data: StudyData
    ) -> Iterator[tuple[StudyRun, Result]]:
        for run in runs:
            self.say(f"running {run.name}")
            reporter = reporter_for(self.console)
            perform = functools.partial(self._perform, data=data, reporter=reporter)
            yield run, workers.execute_run(run, perform)

    def _perform(self, run: StudyRun, data: StudyData, reporter: Reporter) -> RunMetrics:
        with StageProgress(self.console) as progress:
            return self.study.perform(run, data, RunObserver(reporter, progress))

    def _prepare(self, data: StudyData) -> None:
        with StageProgress(self.console) as progress:
            self.study.prepare(data, progress)

    def _report(self) -> None:
        """Write the reports from study.json and the results alone, if there are any."""
        record, results = _read_study(self.study, self.request.out)
        if record is not None and results:
            for path in write_reports(self.study, record, results, self.request.out):
                self.say(f"wrote {path}")

    def _open_data(self) -> StudyData:
        with PackingProgress(self.console, "packing") as progress:
            open_split = functools.partial(
                open_dataset, self.request.data, self.draft.config.resolution,
                colors=self.draft.config.colors, notify=self.say,
                progress=progress,
            )  # fmt: skip
            return StudyData({split: open_split(split=split) for split in self.study.splits})

    def _measure_costs(self, plan: StudyPlan, data: StudyData) -> dict[str, Cost]:
        """Return the cost of a run of each variant, by name, from short runs."""
        self._prepare(data)
        self.say(f"timing {PROBE_STEPS} steps of each variant, and their evaluation")
        quiet = PlainReporter(Console(quiet=True))
        perform = functools.partial(self._perform, data=data, reporter=quiet)
        with (
            tempfile.TemporaryDirectory(prefix="sagan-") as folder,
            workers.limited_threads(self.jobs),
        ):
            runs = plan.probe_runs(Path(folder))
            return {run.variant: measure_cost(run, perform) for run in runs}

    def _with_affordable_steps(self, plan: StudyPlan, costs: Mapping[str, Cost]) -> StudyPlan:
        """Return the plan with the steps that the rest of the budget allows for all runs."""
        assert self.request.budget_minutes is not None
        left = 60 * self.request.budget_minutes - (time.monotonic() - self.started)
        pending = [costs[run.variant] for run in plan.pending_runs()]
        return plan.with_steps(affordable_steps(pending, left, self.jobs))


def cost_lines(plan: StudyPlan, costs: Mapping[str, Cost], jobs: int) -> Iterator[str]:
    """Yield a line for each variant with missing runs, and one for all runs together."""
    pending, steps = plan.pending_runs(), plan.config.steps
    for variant in plan.variants:
        seeds = [str(run.config.seed) for run in pending if run.variant == variant.name]
        if seeds:
            each = duration(costs[variant.name].seconds(steps))
            yield f"{variant.name:<16}{variant.title}; seeds {', '.join(seeds)}: {each} each"
    total = sum(costs[run.variant].seconds(steps) for run in pending)
    in_all = duration(total / mean_concurrency(len(pending), jobs))
    yield f"{runs_of(pending, steps)}: about {in_all} in all"


def runs_of(runs: Sequence[StudyRun], steps: int) -> str:
    """Return how many runs of which length: "4 runs of 9 steps"."""
    return f"{counted(len(runs), 'run', 'runs')} of {counted(steps, 'step', 'steps')}"


def headline(study: Study, result: Result) -> str:
    """Return the number that the study's first claim is about, with its name."""
    number = study.claims[0].number
    return f"{number} {result.numbers.get(number, float('nan')):.4g}"


def _keep_if_same(pilot: Path, record: StudyRecord) -> None:
    """Say in the pilot's folder what it is of, and remove results of a pilot of something else."""
    earlier = read_record(pilot)
    if earlier is not None and any(
        getattr(earlier, part) != getattr(record, part) for part in ("config", "data", "samples")
    ):
        shutil.rmtree(pilot)
    write_record(pilot, record)


def _read_study(study: Study, out: Path) -> tuple[StudyRecord | None, list[Result]]:
    """Read study.json and the results in a study's folder.

    Raises:
        SaganError: a file is damaged, or results cannot be compared with each other.
    """
    record = read_record(out)
    if not record:
        return None, []
    results = read_results(out, record.study)
    check_same_protocol(out, results)
    check_configurations(study, record, results)
    return record, results
