"""Doing runs: one, or several at a time, each in a process with its share of the cores."""

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

import torch
from rich.console import Console
from threadpoolctl import threadpool_limits

from sagan.data import PackedDataset
from sagan.display import PlainReporter
from sagan.errors import SaganError
from sagan.metrics.features.extraction import silent
from sagan.metrics.protocol import COMPUTED_WITH
from sagan.run.stats import read_records
from sagan.runtime.environment import describe_environment
from sagan.runtime.malloc import keep_freed_memory
from sagan.studies.definitions import STUDIES
from sagan.studies.results import Result, result_of
from sagan.studies.run import Data, Findings, Run, Watch
from sagan.training.loop import Interrupted

GRACE_SECONDS = 60.0  # for a worker to save and end when its parent is gone


def threads_each(jobs: int) -> int:
    """Threads of each of so many processes."""
    return max(1, torch.get_num_threads() // jobs)


@contextmanager
def threads_for(jobs: int) -> Iterator[None]:
    """Compute, within the context, with as many threads as a worker has."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads_each(jobs))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def several_at_once(runs: Sequence[Run], data: Data, jobs: int) -> Iterator[tuple[Run, Result]]:
    """Runs and their results, as they end.

    Raises:
        Exception: a run cannot be done, told after those beside it have ended and no other has
            begun.
        SaganError: its process was killed.
        KeyboardInterrupt: Ctrl-C, which the workers got as well; trainings are saved.
    """
    paths = tuple((split, str(dataset.path)) for split, dataset in data.splits.items())
    spawning = multiprocessing.get_context("spawn")
    numbers = spawning.SimpleQueue()
    for number in range(jobs):
        numbers.put(number)
    pool = ProcessPoolExecutor(jobs, spawning, _start, (threads_each(jobs), numbers))
    waiting = iter(runs)
    failed: Exception | None = None
    try:
        running = {pool.submit(_execute, run, paths): run for run in islice(waiting, jobs)}
        while running:
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                run = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    raise
                except Exception as error:
                    failed = failed or error
                    continue
                if result is None:
                    raise KeyboardInterrupt
                yield run, result
            if failed is None:
                free = islice(waiting, jobs - len(running))
                running |= {pool.submit(_execute, run, paths): run for run in free}
    except BrokenProcessPool:
        raise SaganError(
            "the process of a run was killed, perhaps for want of memory: the same command goes "
            "on, perhaps with fewer --jobs"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if failed is not None:
        raise failed


def _start(threads: int, numbers: "SimpleQueue[int]") -> None:
    """What a worker does first, as the command line does; several GPUs are dealt out in turn."""
    keep_freed_memory()
    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(numbers.get() % torch.accelerator.device_count())
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # NumPy's and scikit-learn's
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Save and end when the parent is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def execute(run: Run, perform: Callable[[Run], Findings]) -> Result:
    """A run, from its beginning or from where an earlier process left it, to its end."""
    earlier = max((record.get("seconds", 0.0) for record in read_records(run.folder)), default=0)
    started = time.perf_counter()
    findings = perform(run)
    seconds = earlier + time.perf_counter() - started
    return result_of(run, findings, seconds, describe_environment(*COMPUTED_WITH))


def _execute(run: Run, paths: tuple[tuple[str, str], ...]) -> Result | None:
    """A run in a worker; None if a signal ended it."""
    watch = Watch(PlainReporter(Console(quiet=True)), silent)
    perform = STUDIES[run.study].perform
    try:
        return execute(run, lambda run: perform(run, _open(paths), watch))
    except (Interrupted, KeyboardInterrupt):
        return None


@functools.cache
def _open(paths: tuple[tuple[str, str], ...]) -> Data:
    return Data({split: PackedDataset.open(Path(path)) for split, path in paths})
