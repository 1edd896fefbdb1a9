"""Decoding in other processes gives the same results as decoding here, in the same order."""

import importlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from sagan.data import workers
from sagan.data.sources.base import SourceImage
from sagan.errors import SaganError

NUM = workers.MAX_LOCAL_IMAGES


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 2)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that other processes can import, which these tests are not."""
    name = f"work_for_workers_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        "import os\n"
        "from sagan.errors import UnreadableError\n"
        "def read(number):\n"
        "    if number == 3: raise UnreadableError('three')\n"
        "    return b'%d' % number\n"
        "def pid(data): return os.getpid()\n"
        "def abort_at_100(data): os.abort() if int(data) == 100 else None; return int(data)\n"
        "def divide_at_50(data): return 1 // (int(data) - 50)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name)


def images(work: ModuleType, num: int = NUM) -> Iterator[SourceImage]:
    return (SourceImage(str(n), 0, partial(work.read, n)) for n in range(num))


def run(work: ModuleType, function: Callable[[bytes], object]) -> list[tuple[str, object]]:
    results = workers.map_images(function, images(work), NUM)
    return [(image.name, result) for image, result in results]


def test_results_come_in_order_and_unreadable_ones_in_their_place(
    work: ModuleType,
) -> None:
    results = run(work, int)
    assert [name for name, _ in results] == [str(n) for n in range(NUM)]
    assert [result for _, result in results[:3]] == [0, 1, 2]
    assert str(results[3][1]) == "three"
    assert [result for _, result in results[4:]] == list(range(4, NUM))


def test_other_processes_do_the_work_and_then_end(work: ModuleType) -> None:
    pids = {result for _, result in run(work, work.pid) if isinstance(result, int)}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_image_that_kills_its_process_is_unreadable_but_the_rest_is_not(
    work: ModuleType,
) -> None:
    results = run(work, work.abort_at_100)
    assert "died" in str(results[100][1])
    assert [result for _, result in results[101:]] == list(range(101, NUM))


@pytest.mark.parametrize(
    ("start", "why"),
    [
        ({"_WORKER": "raise SystemExit({path!r} and 1)"}, "it ended at once"),
        ({"_WORKER": "print({path!r})"}, "it ended at once"),
        ({"sys.executable": "/no/such/python"}, "No such file or directory"),
    ],
)
def test_workers_that_do_not_start_are_an_error_in_one_line_and_no_images_fault(
    work: ModuleType, monkeypatch: pytest.MonkeyPatch, start: dict[str, str], why: str
) -> None:
    for name, value in start.items():
        monkeypatch.setattr(f"sagan.data.workers.{name}", value)
    with pytest.raises(SaganError, match=f"did not start: {why}"):
        run(work, int)


def test_an_exception_in_the_work_is_raised_here(work: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError):
        run(work, work.divide_at_50)


def test_closing_the_results_early_ends_the_workers_soon(work: ModuleType) -> None:
    start = time.perf_counter()
    results = workers.map_images(int, images(work, 10**9), 10**9)
    next(results)
    results.close()
    assert time.perf_counter() - start < 10
