"""How the processes of runs start: without importing anything, where the system allows it."""

import multiprocessing
import sys
from multiprocessing.context import BaseContext

WORKERS = "sagan.studies.workers"  # importing it takes seconds, torch alone half of them


def worker_context() -> BaseContext:
    """Return how to start workers: on Linux as copies of a server that has imported everything.

    Elsewhere each worker imports by itself. Copies of the study's own process would do, but for
    the threads that it computes with, which a copy does not have.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WORKERS])
    return context


def start_server() -> None:
    """Start the server, if workers have one, to import while this process does so too.

    It ends with this process.
    """
    if worker_context().get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        ensure_running()
