"""Fifty visitors share one worker, and what was made is remembered within bounds."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sagan.explorer.work_queue import BusyError, Desk

RunAsync = Callable[[Any], Any]


def test_work_is_done_once_for_all_who_ask_and_one_piece_at_a_time(run_async: RunAsync) -> None:
    made: list[int] = []
    running = threading.Semaphore(1)

    def work(n: int) -> bytes:
        assert running.acquire(blocking=False), "two pieces of work at a time"
        made.append(n)
        running.release()
        return b"%d" % n

    async def visit() -> list[bytes]:
        desk = Desk()
        asked = [desk.get(n % 5, lambda n=n: work(n % 5)) for n in range(50)]
        return await asyncio.gather(*asked)

    assert run_async(visit()) == [b"%d" % (n % 5) for n in range(50)]
    assert sorted(made) == [0, 1, 2, 3, 4]


def test_the_least_recently_asked_for_is_forgotten_first(run_async: RunAsync) -> None:
    made: list[str] = []

    async def ask(desk: Desk, key: str) -> None:
        def work() -> bytes:
            made.append(key)
            return bytes(10)

        assert await desk.get(key, work) == bytes(10)

    async def visit() -> None:
        desk = Desk(cache_bytes=25)
        for key in "ababcab":
            await ask(desk, key)

    run_async(visit())
    assert "".join(made) == "abcab"


def test_a_failure_is_told_to_all_who_wait_and_not_remembered(run_async: RunAsync) -> None:
    async def visit() -> None:
        desk = Desk()

        def fail() -> bytes:
            raise ValueError("no")

        asked = [desk.get(1, fail) for _ in range(2)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result) for result in results] == [ValueError, ValueError]
        assert await desk.get(1, lambda: b"yes") == b"yes"

    run_async(visit())


def test_work_that_nobody_waits_for_any_more_leaves_the_queue(run_async: RunAsync) -> None:
    made: list[int] = []

    async def visit() -> None:
        desk = Desk(waiting=3)
        gate = threading.Event()

        def work(n: int) -> bytes:
            assert gate.wait(10)
            made.append(n)
            return b"%d" % n

        def ask(n: int) -> asyncio.Task[bytes]:
            return asyncio.ensure_future(desk.get(n, lambda: work(n)))

        running, left, shared, stays = ask(0), ask(1), ask(2), ask(2)
        await asyncio.sleep(0.1)  # the worker has begun with the first
        for visitor in (running, left, shared):
            visitor.cancel()
        await asyncio.wait([running, left, shared])
        again = ask(1)  # there is room for it, and it is made for this visitor
        gate.set()
        assert await stays == b"2"
        assert await again == b"1"
        assert await ask(0) == b"0"  # was running already: made and remembered

    run_async(visit())
    assert made == [0, 2, 1]


def test_who_comes_when_too_many_wait_is_sent_away(run_async: RunAsync) -> None:
    async def visit() -> None:
        desk = Desk(waiting=3)
        gate = threading.Event()

        def slow() -> bytes:
            assert gate.wait(10)
            return b""

        waiting = [asyncio.ensure_future(desk.get(n, slow)) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await desk.get(3, slow)
        same = asyncio.ensure_future(desk.get(2, slow))  # waits for what is being made
        waiting[1].cancel()  # who leaves takes nothing from the others
        gate.set()
        assert await same == b""
        assert await desk.get(3, slow) == b""

    run_async(visit())
