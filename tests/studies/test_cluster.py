"""Runs as jobs, by submitit's executor for one machine: real processes, without a queue."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sagan.config import resolve
from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.studies import cluster, workers
from sagan.studies.cluster import run_on_cluster
from sagan.studies.definitions.attention import STUDY
from sagan.studies.request import ClusterRequest
from sagan.studies.run import RunMetrics, RunObserver, StudyData, StudyRun

Submit = Callable[..., list[tuple[str, Any]]]


@pytest.fixture
def submit(labeled: PackedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """submit(execute, names): what jobs that call execute(name, folder) have returned, by name."""
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.1)

    def submit(
        execute: Callable[[str, Path], Any], *names: str, jobs: int = 2, **settings: Any
    ) -> list[tuple[str, Any]]:
        def execute_as_job(run: StudyRun, paths: Any, threads: int) -> Any:
            return execute(run.variant, run.folder)

        monkeypatch.setattr(cluster, "execute_as_job", execute_as_job)
        runs = [StudyRun(STUDY.name, name, resolve("smoke"), "smoke", tmp_path) for name in names]
        where = ClusterRequest("local", settings)
        data = StudyData({"train": labeled})
        ended = run_on_cluster(runs, data, jobs, where, tmp_path / "jobs")
        return [(run.variant, result) for run, result in ended]

    return submit


def test_every_run_returns_its_result_and_one_that_a_signal_stopped_starts_again(
    submit: Submit, tmp_path: Path
) -> None:
    def execute(name: str, folder: Path) -> str | None:
        begun = folder / name
        if name == "stopped" and not begun.exists():
            begun.touch()
            return None
        return f"result of {name}"

    ended = submit(execute, "first", "stopped", "last", jobs=1)
    # The stopped one starts again after the runs that were waiting.
    assert ended == [(name, f"result of {name}") for name in ("first", "last", "stopped")]


def test_a_failed_job_is_named_with_its_cause_and_the_others_are_canceled(
    submit: Submit, tmp_path: Path
) -> None:
    def execute(name: str, folder: Path) -> str:
        import time

        if name == "fails":
            raise ValueError("no such thing")
        time.sleep(300)
        (folder / "ended").touch()
        return ""

    with pytest.raises(
        SaganError, match=r"the job of fails-seed0 failed \(ValueError: no such thing\): see '"
    ):
        submit(execute, "fails", "sleeps")
    assert not (tmp_path / "ended").exists()


@pytest.mark.parametrize(("setting", "value"), [("speed", 3), ("timeout_min", "2h")])
def test_what_the_cluster_does_not_take_is_refused_in_one_line(
    submit: Submit, setting: str, value: Any
) -> None:
    with pytest.raises(SaganError) as caught:
        submit(lambda name, folder: "", "first", **{setting: value})
    message = str(caught.value)
    assert message.startswith("--cluster local: ")
    assert setting in message
    assert "\n" not in message


def test_a_job_that_the_cluster_refuses_is_reported_in_one_line(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    import submitit

    def refuse(self: Any, *arguments: Any) -> None:
        raise submitit.core.utils.FailedJobError("sbatch: error: invalid partition\nat node 7")

    monkeypatch.setattr(submitit.AutoExecutor, "submit", refuse)
    with pytest.raises(SaganError, match=r"^--cluster local: sbatch: error: invalid partition$"):
        submit(lambda name, folder: "", "first")


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_job_whose_time_is_up_or_that_is_preempted_has_no_result_and_so_starts_again(
    labeled: PackedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def perform(run: StudyRun, data: StudyData, observer: RunObserver) -> RunMetrics:
        signal.raise_signal(number)
        return RunMetrics({}, {}, {}, step_seconds=0.0)

    monkeypatch.setitem(workers.STUDIES, STUDY.name, replace(STUDY, perform=perform))
    monkeypatch.setattr(workers, "_set_up", lambda threads: None)
    run = StudyRun(STUDY.name, "none", resolve("smoke"), "smoke", tmp_path)
    before = signal.getsignal(number)
    paths = workers.split_paths(StudyData({"train": labeled}))
    assert workers.execute_as_job(run, paths, 1) is None
    assert signal.getsignal(number) is before
