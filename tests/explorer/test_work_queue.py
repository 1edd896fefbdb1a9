"""Visitors share one worker, and results are cached up to a size limit."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sagan.explorer.work_queue import BusyError, WorkQueue

RunAsync = Callable[[Any], Any]


def test_each_job_runs_once_for_all_who_request_it_and_one_job_at_a_time(
    run_async: RunAsync,
) -> None:
    done: list[int] = []
    running = threading.Semaphore(1)

    def work(n: int) -> bytes:
        assert running.acquire(blocking=False), "two jobs at a time"
        done.append(n)
        running.release()
        return b"%d" % n

    async def visit() -> list[bytes]:
        queue = WorkQueue()
        asked = [queue.get(n % 5, lambda n=n: work(n % 5)) for n in range(50)]
        return await asyncio.gather(*asked)

    assert run_async(visit()) == [b"%d" % (n % 5) for n in range(50)]
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_the_least_recently_requested_result_is_dropped_first(run_async: RunAsync) -> None:
    done: list[str] = []

    async def ask(queue: WorkQueue, key: str) -> None:
        def work() -> bytes:
            done.append(key)
            return bytes(10)

        assert await queue.get(key, work) == bytes(10)

    async def visit() -> None:
        queue = WorkQueue(cache_bytes=25)
        for key in "ababcab":
            await ask(queue, key)

    run_async(visit())
    assert "".join(done) == "abcab"


def test_a_result_that_is_not_kept_takes_no_room_from_those_that_are(run_async: RunAsync) -> None:
    async def visit() -> None:
        queue = WorkQueue(cache_bytes=10)
        await queue.get("kept", lambda: bytes(10))
        assert await queue.get("own", lambda: b"first", keep=False) == b"first"
        assert await queue.get("own", lambda: b"second", keep=False) == b"second"
        assert await queue.get("kept", lambda: b"again") == bytes(10)

    run_async(visit())


def test_a_failure_reaches_all_who_wait_and_is_not_cached(run_async: RunAsync) -> None:
    async def visit() -> None:
        queue = WorkQueue()

        def fail() -> bytes:
            raise ValueError("no")

        asked = [queue.get(1, fail) for _ in range(2)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result) for result in results] == [ValueError, ValueError]
        assert await queue.get(1, lambda: b"yes") == b"yes"

    run_async(visit())


def test_a_queued_job_that_nobody_waits_for_is_dropped(run_async: RunAsync) -> None:
    done: list[int] = []

    async def visit() -> None:
        queue = WorkQueue(max_jobs=3)
        gate = threading.Event()

        def work(n: int) -> bytes:
            assert gate.wait(10)
            done.append(n)
            return b"%d" % n

        def ask(n: int) -> asyncio.Task[bytes]:
            return asyncio.ensure_future(queue.get(n, lambda: work(n)))

        running, left, shared, stays = ask(0), ask(1), ask(2), ask(2)
        await asyncio.sleep(0.1)  # the worker has started the first job
        for visitor in (running, left, shared):
            visitor.cancel()
        await asyncio.wait([running, left, shared])
        again = ask(1)  # there is room in the queue, and it is done for this visitor
        gate.set()
        assert await stays == b"2"
        assert await again == b"1"
        assert await ask(0) == b"0"  # it was running already: finished and cached

    run_async(visit())
    assert done == [0, 2, 1]


def test_requests_to_a_full_queue_are_refused(run_async: RunAsync) -> None:
    async def visit() -> None:
        queue = WorkQueue(max_jobs=3)
        gate = threading.Event()

        def slow() -> bytes:
            assert gate.wait(10)
            return b""

        waiting = [asyncio.ensure_future(queue.get(n, slow)) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await queue.get(3, slow)
        same = asyncio.ensure_future(queue.get(2, slow))  # joins a job that is in the queue
        waiting[1].cancel()  # does not affect the others
        gate.set()
        assert await same == b""
        assert await queue.get(3, slow) == b""

    run_async(visit())
