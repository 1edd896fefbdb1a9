"""Execute runs: one, or several at a time, each in a process with its share of the cores."""

import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import psutil
import torch
from rich.console import Console
from threadpoolctl import threadpool_limits

from sagan.data import PackedDataset
from sagan.display import PlainReporter
from sagan.errors import SaganError
from sagan.metrics.features.extraction import no_progress
from sagan.metrics.protocol import COMPUTED_WITH
from sagan.run.stats import read_records
from sagan.runtime.environment import describe_environment
from sagan.runtime.malloc import keep_freed_memory
from sagan.runtime.processes import join_processes
from sagan.studies.definitions import STUDIES
from sagan.studies.results import Result, make_result
from sagan.studies.run import RunMetrics, RunObserver, StudyData, StudyRun
from sagan.studies.server import worker_context
from sagan.training.loop import Interrupted

BYTES_PER_JOB = 4 << 30  # of the machine's memory; a run of cpu-32 takes a third of it
GRACE_SECONDS = 60.0  # for a worker to save and exit once its parent is gone

# Split and path of each packed set: what a worker needs to open the data again.
SplitPaths = tuple[tuple[str, str], ...]


def suitable_jobs(runs: int) -> int:
    """Return how many of a study's runs to do at a time on this machine: one on each core or GPU.

    Several small networks, each on one core, train faster than one network on all of them. The
    number depends on the machine and the study alone, so that a study resumes with the same bits.
    """
    if join_processes().device.type != "cpu":
        return min(runs, torch.accelerator.device_count())
    room = psutil.virtual_memory().total // BYTES_PER_JOB
    return max(1, min(runs, torch.get_num_threads(), room))


def threads_per_job(jobs: int) -> int:
    """Return the number of threads for each of `jobs` processes."""
    return max(1, torch.get_num_threads() // jobs)


@contextmanager
def limited_threads(jobs: int) -> Iterator[None]:
    """Compute with as many threads as each of `jobs` workers has."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads_per_job(jobs))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def split_paths(data: StudyData) -> SplitPaths:
    """Return where the data's packed sets are."""
    return tuple((split, str(dataset.path)) for split, dataset in data.splits.items())


def run_in_parallel(
    runs: Sequence[StudyRun], data: StudyData, jobs: int
) -> Iterator[tuple[StudyRun, Result]]:
    """Yield runs with their results, as they finish.

    Raises:
        Exception: a run failed; raised once the runs beside it have finished, and no further run
            has started.
        SaganError: a worker was killed.
        KeyboardInterrupt: Ctrl-C, which the workers receive as well; their trainings are saved.
    """
    paths = split_paths(data)
    context = worker_context()
    numbers = context.SimpleQueue()
    for number in range(jobs):
        numbers.put(number)
    device = "cpu" if join_processes().device.type == "cpu" else None
    arguments = (threads_per_job(jobs), device, numbers)
    pool = ProcessPoolExecutor(jobs, context, _start_worker, arguments)
    waiting = iter(runs)
    failed: Exception | None = None
    try:
        running = {
            pool.submit(_execute_in_worker, run, paths): run for run in islice(waiting, jobs)
        }
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                run = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    raise
                except Exception as error:
                    failed = failed or error
                    continue
                if not result:
                    raise KeyboardInterrupt
                yield run, result
            if not failed:
                free = islice(waiting, jobs - len(running))
                running |= {pool.submit(_execute_in_worker, run, paths): run for run in free}
    except BrokenProcessPool:
        raise SaganError(
            "the process of a run was killed, perhaps because memory ran out: give the same "
            "command to resume, with fewer --jobs if it happens again"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if failed is not None:
        raise failed


def _start_worker(threads: int, device: str | None, numbers: "SimpleQueue[int]") -> None:
    """Set up a worker; workers take several GPUs in turn."""
    if _set_up(threads, device).type != "cpu":
        torch.accelerator.set_device_index(numbers.get() % torch.accelerator.device_count())
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _set_up(threads: int, device: str | None = None) -> torch.device:
    """Set up this process as the command line does, and return its device."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # NumPy's and scikit-learn's
    return join_processes(device).device


def _exit_with_parent() -> None:
    """Save and exit once the parent is gone, however it ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    signal.raise_signal(signal.SIGTERM)  # os.kill would end the process at once on Windows
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def execute_run(run: StudyRun, perform: Callable[[StudyRun], RunMetrics]) -> Result:
    """Do a run, from its beginning or from where an earlier process left it, to its end."""
    earlier = max((record.get("seconds", 0.0) for record in read_records(run.folder)), default=0)
    started, cpu_started = time.perf_counter(), time.process_time()
    metrics = perform(run)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    whole = earlier + seconds
    # Of what earlier processes did only the duration is known.
    cpu_seconds *= whole / max(seconds, 1e-9)
    return make_result(run, metrics, whole, cpu_seconds, describe_environment(*COMPUTED_WITH))


def execute_as_job(run: StudyRun, paths: SplitPaths, threads: int) -> Result | None:
    """Do a run in a process of its own; return None if a signal interrupted it."""
    _set_up(threads)
    with _stopped_by_cluster():
        return _execute_in_worker(run, paths)


@contextmanager
def _stopped_by_cluster() -> Iterator[None]:
    """Stop as with Ctrl-C when a job is preempted (SIGTERM) or its time is up (SIGUSR2).

    A training handles SIGTERM itself: it saves first. What submitit does by itself is to report a
    job whose time is up as failed.
    """
    handlers = {
        signal.SIGTERM: signal.default_int_handler,
        signal.SIGUSR2: lambda number, frame: signal.raise_signal(signal.SIGTERM),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _execute_in_worker(run: StudyRun, paths: SplitPaths) -> Result | None:
    """Do a run in a worker; return None if a signal interrupted it."""
    observer = RunObserver(PlainReporter(Console(quiet=True)), no_progress)
    perform = STUDIES[run.study].perform
    try:
        return execute_run(run, lambda run: perform(run, _open_data(paths), observer))
    except (Interrupted, KeyboardInterrupt):
        return None


@functools.cache
def _open_data(paths: SplitPaths) -> StudyData:
    return StudyData({split: PackedDataset.open(Path(path)) for split, path in paths})
