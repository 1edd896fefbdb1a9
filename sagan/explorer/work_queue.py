"""Heavy work, one job at a time: fifty visitors must not make two cores thrash."""

import asyncio
import concurrent.futures
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

CACHE_BYTES = 64 * 2**20
MAX_JOBS = 256  # running or waiting


class BusyError(Exception):
    """The queue is longer than anyone would wait for."""


@dataclass
class _Job:
    """A queued or running job: the worker's future, the event loop's, and how many wait for it."""

    future: concurrent.futures.Future[bytes]
    result: asyncio.Future[bytes]
    waiters: int = 0


class WorkQueue:
    """A single worker thread with a bounded queue and an LRU cache of results.

    Requests for a result that is already being computed wait for it; a queued job that nobody
    waits for any longer is dropped. All methods belong to one event loop.

    Args:
        cache_bytes: total size of the cached results; the least recently used are dropped first.
        max_jobs: how many jobs may be pending, the running one included.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES, max_jobs: int = MAX_JOBS) -> None:
        self._worker = concurrent.futures.ThreadPoolExecutor(1, "sagan-explorer")
        self._cache_bytes = cache_bytes
        self._max_jobs = max_jobs
        self._cache: OrderedDict[Hashable, bytes] = OrderedDict()
        self._cached_bytes = 0
        self._jobs: dict[Hashable, _Job] = {}

    async def get(self, key: Hashable, work: Callable[[], bytes], keep: bool = True) -> bytes:
        """Return the result of `work`, computed now or cached under `key`.

        Args:
            key: equal for requests with the same result.
            work: computes it.
            keep: whether to cache it for later requests.

        Raises:
            BusyError: the queue is full.
            Exception: whatever `work` raises; it is not cached.
        """
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if key not in self._jobs:
            if len(self._jobs) >= self._max_jobs:
                raise BusyError
            self._submit(key, work, keep)
        job = self._jobs[key]
        job.waiters += 1
        try:
            # One visitor leaving must not cancel what others wait for.
            return await asyncio.shield(job.result)
        finally:
            job.waiters -= 1
            if job.waiters == 0 and job.future.cancel():  # it had not started
                del self._jobs[key]

    def close(self) -> None:
        """Drop all jobs but the running one, which nobody waits for any longer."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _submit(self, key: Hashable, work: Callable[[], bytes], keep: bool) -> None:
        future = self._worker.submit(work)
        self._jobs[key] = _Job(future, asyncio.wrap_future(future))
        self._jobs[key].result.add_done_callback(lambda done: self._finish(key, done, keep))

    def _finish(self, key: Hashable, done: asyncio.Future[bytes], keep: bool) -> None:
        if done.cancelled():
            return
        del self._jobs[key]
        if not done.exception() and keep:
            self._store(key, done.result())

    def _store(self, key: Hashable, result: bytes) -> None:
        self._cache[key] = result
        self._cached_bytes += len(result)
        while self._cached_bytes > self._cache_bytes:
            _, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= len(dropped)
