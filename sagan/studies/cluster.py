"""Execute runs as jobs of a SLURM cluster, or as plain processes in order to try that out.

The study's folder and the packed data must be on a disk that every node sees.
"""

import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sagan.errors import SaganError
from sagan.runtime.extras import CLUSTER, report_missing_library
from sagan.studies.request import ClusterRequest
from sagan.studies.results import Result
from sagan.studies.run import StudyData, StudyRun
from sagan.studies.workers import GRACE_SECONDS, execute_as_job, split_paths

# A run continues from its last checkpoint when its job is preempted or its time is up.
DEFAULTS: Mapping[str, Any] = {"timeout_min": 24 * 60, "cpus_per_task": 1, "nodes": 1}
POLL_SECONDS = 2.0


def run_on_cluster(
    runs: Sequence[StudyRun],
    data: StudyData,
    jobs: int,
    cluster: ClusterRequest,
    folder: Path,
) -> Iterator[tuple[StudyRun, Result]]:
    """Yield runs with their results, as they finish. A run that a signal stopped starts again.

    Args:
        runs: what to do.
        data: packed where every node sees it.
        jobs: how many may be in the queue at a time.
        cluster: where to; its settings replace `DEFAULTS`.
        folder: where jobs leave their output.

    Raises:
        SaganError: submitit or SLURM is missing, a setting is unknown, or a job failed; the other
            jobs are then canceled, and save.
        KeyboardInterrupt: Ctrl-C; the jobs are canceled, and save.
    """
    with report_missing_library(CLUSTER):
        import submitit
    parameters = {**DEFAULTS, **cluster.settings}
    with _reported(cluster.name):
        executor = submitit.AutoExecutor(folder, cluster=cluster.name)
        executor.update_parameters(name="sagan", **parameters)
    paths, threads = split_paths(data), int(parameters["cpus_per_task"])
    waiting = deque(runs)
    running: dict[Any, StudyRun] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.popleft()
                with _reported(cluster.name):
                    job = executor.submit(execute_as_job, run, paths, threads)
                running[job] = run
            finished = [job for job in running if job.done()]
            for job in finished:
                run = running.pop(job)
                result = _result_of(job, run)
                if result is None:
                    waiting.append(run)
                else:
                    yield run, result
            if not finished:
                time.sleep(POLL_SECONDS)
    finally:
        _cancel(running)


@contextmanager
def _reported(name: str) -> Iterator[None]:
    """Raise what submitit or the cluster refuses as a SaganError."""
    try:
        yield
    except (AssertionError, RuntimeError, NameError, TypeError, ValueError) as error:
        what = next(iter(str(error).splitlines()), type(error).__name__)
        raise SaganError(f"--cluster {name}: {what}") from None


def _cancel(jobs: Collection[Any]) -> None:
    """Cancel jobs, and wait until they have saved and ended."""
    for job in jobs:
        job.cancel(check=False)
    deadline = time.monotonic() + GRACE_SECONDS
    while not all(job.done() for job in jobs) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _result_of(job: Any, run: StudyRun) -> Result | None:
    error = job.exception()
    if error is None:
        result: Result | None = job.result()
        return result
    trace, _, _ = str(error).partition("You can check")  # then come the paths of its output
    cause = trace.rstrip(" -\n").splitlines()[-1]
    raise SaganError(f"the job of {run.name} failed ({cause}): see '{job.paths.stderr}'")
