"""Heavy work one piece at a time: fifty visitors must not make two cores thrash."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

CACHE_BYTES = 64 * 2**20
WAITING = 256  # pieces of work, running or in the queue


class BusyError(Exception):
    """More is waiting than could be done in a time that anybody would wait."""


class Desk:
    """One worker, a queue of bounded length, and the most recent results.

    Who asks for what is being made already waits for that. All methods belong to one event loop.

    Args:
        cache_bytes: results kept, least recently used ones dropped first.
        waiting: pieces of work that may wait, the running one included.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES, waiting: int = WAITING) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="sagan-explorer")
        self._cache_bytes = cache_bytes
        self._waiting = waiting
        self._results: OrderedDict[Hashable, bytes] = OrderedDict()
        self._held = 0
        self._pending: dict[Hashable, asyncio.Future[bytes]] = {}

    async def get(self, key: Hashable, work: Callable[[], bytes]) -> bytes:
        """The result of ``work``, made now or remembered under ``key``.

        Raises:
            BusyError: too much is waiting.
            Exception: what ``work`` raises; it is not remembered.
        """
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        if key not in self._pending:
            if len(self._pending) >= self._waiting:
                raise BusyError
            future = asyncio.get_running_loop().run_in_executor(self._worker, work)
            self._pending[key] = future
            future.add_done_callback(lambda done: self._finish(key, done))
        # One visitor's leaving must not cancel what others wait for.
        return await asyncio.shield(self._pending[key])

    def close(self) -> None:
        """Let the running piece of work end, drop the rest."""
        self._worker.shutdown(cancel_futures=True)

    def _finish(self, key: Hashable, done: asyncio.Future[bytes]) -> None:
        del self._pending[key]
        if done.cancelled() or done.exception() is not None:
            return
        result = done.result()
        self._results[key] = result
        self._held += len(result)
        while self._held > self._cache_bytes:
            _, dropped = self._results.popitem(last=False)
            self._held -= len(dropped)
