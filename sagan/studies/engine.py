"""From what the user asks for to a report: the data, the steps, the runs that are still to be done.

What a study has found so far is in its results. One that is killed goes on with the runs that have
none, and these go on from their last checkpoint.
"""

import functools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sagan.data import open_dataset
from sagan.display import PackingProgress, PlainReporter, StageProgress, duration, reporter_for
from sagan.errors import SaganError
from sagan.nn.precision import resolve_precision
from sagan.run.directory import alone_in
from sagan.runtime.device import default_device
from sagan.runtime.processes import refuse_launcher
from sagan.studies import workers
from sagan.studies.analysis.report import write_reports
from sagan.studies.budget import PROBE_STEPS, Cost, affordable_steps, at_once, probe
from sagan.studies.definitions import STUDIES
from sagan.studies.plan import (
    DataRecord,
    Request,
    SplitRecord,
    StudyRecord,
    check_configurations,
    check_same,
    chosen_variants,
    common_config,
    is_pending,
    read_record,
    runs_of,
    write_record,
)
from sagan.studies.results import Result, check_alike, read_results, write_result
from sagan.studies.run import Data, Findings, Run, Watch
from sagan.studies.study import Study
from sagan.training.recorder import Reporter
from sagan.types import Notify


def conduct(request: Request, dry_run: bool, console: Console, say: Notify) -> None:
    """Do what is still to be done of a study, and write its reports.

    Args:
        request: what is asked for.
        dry_run: say which runs there would be and what they would cost, and stop.
        console: where runs show themselves.
        say: called with each line that the user should read.

    Raises:
        SaganError: something does not fit.
        Interrupted: by a signal; the same request goes on.
    """
    refuse_launcher("start sagan study without it, and give --jobs")
    conductor = Conductor(STUDIES[request.study], request, console, say)
    if dry_run:
        conductor.show_plan()
        return
    with alone_in(request.out):
        conductor.run_all()


@dataclass
class Conductor:
    """A study in progress."""

    study: Study
    request: Request
    console: Console
    say: Notify

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.variants = chosen_variants(self.study, self.request.variants)
        self.begun = read_record(self.request.out)
        config = common_config(self.study, self.request, self.begun)
        if self.begun is not None:
            if self.request.steps is None:
                steps = self.begun.config.steps
                self.say(f"going on with {steps:,} steps, as the study began")
                config = config.model_copy(update={"steps": steps})
            check_same(self.request.out, self.begun, self.study.name, config)
        self.config = config
        self._runs()  # so that a variant that does not fit is told before anything is packed

    @property
    def chooses_steps(self) -> bool:
        """Whether the budget decides the steps: only once, for runs have to be alike."""
        return self.request.budget_minutes is not None and self.begun is None

    def _runs(self) -> list[Run]:
        folder = self.request.out / "runs"
        return list(runs_of(self.variants, self.config, self.request.seeds, self.request, folder))

    def _pending(self) -> list[Run]:
        return [run for run in self._runs() if is_pending(run, self.request.out)]

    def show_plan(self) -> None:
        """Say what would be run, and what that would take."""
        pending = self._pending()
        if not pending:
            self.say("all of its runs have results already")
            return
        data = self._open_data()
        costs = self._costs(data)
        if self.chooses_steps:
            self._choose_steps(costs)
        pending = self._pending()
        for variant in self.variants:
            seeds = [run.config.seed for run in pending if run.variant == variant.name]
            if seeds:
                seconds = costs[variant.name].seconds(self.config.steps)
                self.say(
                    f"{variant.name:<16}{variant.title}; seeds {', '.join(map(str, seeds))}: "
                    f"{duration(seconds)} each"
                )
        total = sum(costs[run.variant].seconds(self.config.steps) for run in pending)
        self.say(
            f"{len(pending)} runs of {self.config.steps:,} steps: about "
            f"{duration(total / at_once(len(pending), self.request.jobs))} in all"
        )

    def run_all(self) -> None:
        """Do the runs that have no result, if there are any, and report on all."""
        self._found()  # before hours are spent on what cannot be reported with it
        if not self._pending():
            self.report()
            return
        data = self._open_data()
        if self.chooses_steps:
            self._choose_steps(self._costs(data))
        pending = self._pending()  # with all that was decided since
        self._record(data)
        with StageProgress(self.console) as progress:
            self.study.prepare(data, progress)
        self.say(f"{len(pending)} runs of {self.config.steps:,} steps")
        try:
            self._run(pending, data)
        finally:  # a study that is stopped has reports of what it found so far
            self.report()

    def _run(self, pending: Sequence[Run], data: Data) -> None:
        if self.request.jobs == 1:
            results = self._one_by_one(pending, data)
        else:
            results = workers.several_at_once(pending, data, self.request.jobs)
        for number, (run, result) in enumerate(results, start=1):
            write_result(self.request.out, run.name, result)
            self.say(
                f"{number} of {len(pending)}: {run.name} took {duration(result.cost['whole'])}, "
                + headline(self.study, result)
            )

    def report(self) -> None:
        """Write the reports, from study.json and the results alone, if there are any."""
        record, results = self._found()
        if record is None or not results:
            return
        for path in write_reports(self.study, record, results, self.request.out):
            self.say(f"wrote {path}")

    def _found(self) -> tuple[StudyRecord | None, list[Result]]:
        """What the folder holds by now.

        Raises:
            SaganError: results that cannot be compared.
        """
        record = read_record(self.request.out)
        results = read_results(self.request.out, record.study) if record else []
        if record is not None:
            check_alike(self.request.out, results)
            check_configurations(self.study, record, results)
        return record, results

    def _one_by_one(self, runs: Sequence[Run], data: Data) -> Iterator[tuple[Run, Result]]:
        for run in runs:
            self.say(f"running {run.name}")
            shown = reporter_for(self.console)
            perform = functools.partial(self._perform, data=data, reporter=shown)
            yield run, workers.execute(run, perform)

    def _perform(self, run: Run, data: Data, reporter: Reporter) -> Findings:
        with StageProgress(self.console) as progress:
            return self.study.perform(run, data, Watch(reporter, progress))

    def _open_data(self) -> Data:
        with PackingProgress(self.console, "packing") as progress:
            data = Data(
                {
                    split: open_dataset(
                        self.request.data, self.config.resolution, split=split, notify=self.say,
                        progress=progress,
                    )
                    for split in self.study.splits
                }
            )  # fmt: skip
        self.config = self.config.with_labels(data.train.labels is not None)
        if self.begun is None:  # for all runs, on whatever machine they are done
            precision = resolve_precision(self.config.precision, default_device())
            named = {"precision": str(precision).removeprefix("torch.")}
            self.config = self.config.model_copy(update=named)
        else:
            check_same(self.request.out, self.begun, self.study.name, self.config)
            # The same pictures may have moved.
            moved = describe_data(data).model_copy(update={"source": self.begun.data.source})
            if self.begun.data != moved:
                raise SaganError(
                    f"{self.request.out} holds a study of other pictures: give the same --data as "
                    "then, or another --out"
                )
        return data

    def _record(self, data: Data) -> None:
        commands = self.begun.commands if self.begun else []
        runs = self.begun.runs if self.begun else []
        record = StudyRecord(
            study=self.study.name,
            preset=self.request.preset,
            config=self.config,
            data=describe_data(data),
            commands=list(dict.fromkeys([*commands, self.request.command()])),
            runs=list(dict.fromkeys([*runs, *(run.name for run in self._runs())])),
        )
        write_record(self.request.out, record)

    def _costs(self, data: Data) -> dict[str, Cost]:
        """What a run of each variant takes, by name."""
        with StageProgress(self.console) as progress:
            self.study.prepare(data, progress)
        self.say(f"timing {PROBE_STEPS} steps of each variant, and measuring them")
        perform = functools.partial(
            self._perform, data=data, reporter=PlainReporter(Console(quiet=True))
        )
        short = self.config.model_copy(update={"steps": PROBE_STEPS})
        with (
            tempfile.TemporaryDirectory(prefix="sagan-") as folder,
            workers.threads_for(self.request.jobs),
        ):
            runs = runs_of(self.variants, short, 1, self.request, Path(folder))
            return {run.variant: probe(run, perform) for run in runs}

    def _choose_steps(self, costs: dict[str, Cost]) -> None:
        """What the minutes left allow for all runs."""
        assert self.request.budget_minutes is not None
        left = 60 * self.request.budget_minutes - (time.monotonic() - self.started)
        each = [costs[run.variant] for run in self._pending()]
        steps = affordable_steps(each, left, self.request.jobs)
        self.config = self.config.model_copy(update={"steps": steps})


def describe_data(data: Data) -> DataRecord:
    """Which pictures, for study.json."""
    source = Path(data.train.source)
    return DataRecord(
        source=source.name if source.exists() else data.train.source,
        size=data.train.size,
        classes=data.train.num_classes,
        **{split: SplitRecord(**pictures) for split, pictures in data.pictures().items()},
    )


def headline(study: Study, result: Result) -> str:
    """The number that the study's claim is about."""
    number = study.claims[0].number
    return f"{number} {result.numbers.get(number, float('nan')):.4g}"
