"""Heavy work one piece at a time: fifty visitors must not make two cores thrash."""

import asyncio
import concurrent.futures
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

CACHE_BYTES = 64 * 2**20
WAITING = 256  # pieces of work, running or in the queue


class BusyError(Exception):
    """More is waiting than could be done in a time that anybody would wait."""


@dataclass
class _Piece:
    """Work in the queue or running: the worker's side, the askers' side, and how many ask."""

    job: concurrent.futures.Future[bytes]
    result: asyncio.Future[bytes]
    askers: int = 0


class Desk:
    """One worker, a queue of bounded length, and the most recent results.

    Who asks for what is being made already waits for that; what nobody waits for any more leaves
    the queue. All methods belong to one event loop.

    Args:
        cache_bytes: results kept, least recently used ones dropped first.
        waiting: pieces of work that may wait, the running one included.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES, waiting: int = WAITING) -> None:
        self._worker = concurrent.futures.ThreadPoolExecutor(1, "sagan-explorer")
        self._cache_bytes = cache_bytes
        self._waiting = waiting
        self._results: OrderedDict[Hashable, bytes] = OrderedDict()
        self._held = 0
        self._pending: dict[Hashable, _Piece] = {}

    async def get(self, key: Hashable, work: Callable[[], bytes]) -> bytes:
        """The result of `work`, made now or remembered under `key`.

        Raises:
            BusyError: too much is waiting.
            Exception: what `work` raises; it is not remembered.
        """
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        if key not in self._pending:
            if len(self._pending) >= self._waiting:
                raise BusyError
            self._begin(key, work)
        piece = self._pending[key]
        piece.askers += 1
        try:
            # One visitor's leaving must not cancel what others wait for.
            return await asyncio.shield(piece.result)
        finally:
            piece.askers -= 1
            if piece.askers == 0 and piece.job.cancel():  # it had not begun
                del self._pending[key]

    def close(self) -> None:
        """Let the running piece of work end, drop the rest."""
        self._worker.shutdown(cancel_futures=True)

    def _begin(self, key: Hashable, work: Callable[[], bytes]) -> None:
        job = self._worker.submit(work)
        self._pending[key] = _Piece(job, asyncio.wrap_future(job))
        self._pending[key].result.add_done_callback(lambda done: self._finish(key, done))

    def _finish(self, key: Hashable, done: asyncio.Future[bytes]) -> None:
        if done.cancelled():
            return
        del self._pending[key]
        if done.exception() is None:
            self._remember(key, done.result())

    def _remember(self, key: Hashable, result: bytes) -> None:
        self._results[key] = result
        self._held += len(result)
        while self._held > self._cache_bytes:
            _, dropped = self._results.popitem(last=False)
            self._held -= len(dropped)
