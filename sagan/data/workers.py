"""Decoding on all cores: chunks of encoded pictures out to worker processes, results back in order.

Processes, since threads are slower than one core on small pictures (50,000 CIFAR-10 JPEGs: 7.5 s
with two threads, 5.1 s with none): the part of Pillow that holds the interpreter lock dominates.

Not `multiprocessing`: fork is unsafe under a process that runs torch, spawn and forkserver import
the user's main script again, which a script without a main guard does not survive and a notebook
does not have, and a pool cannot be used from a daemonic process. A worker here is a plain child
that reads pickled chunks from its standard input, ends when its input does (so also when its parent
is killed), and whose death tells which chunk it died on.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, TypeVar

from sagan.data.decode import UnreadableError
from sagan.data.sources import Picture

T = TypeVar("T")

# Large enough that passing a chunk costs little, small enough that a few of them are no memory.
CHUNK_PICTURES = 256
CHUNK_BYTES = 4 * 1024**2
# Below this many pictures, decoding here is done before the workers have started.
FEW_PICTURES = 512

_WORKER = "import sys; sys.path[:] = {path!r}; from sagan.data.workers import serve; serve()"


def map_pictures(
    work: Callable[[bytes], T], pictures: Iterable[Picture], num_pictures: int
) -> Generator[tuple[Picture, T | UnreadableError], None, None]:
    """Apply `work` to every picture's bytes, yielding results in the pictures' order.

    work must be picklable; what it raises as UnreadableError is its result. num_pictures decides
    only whether to start workers, one for each core that this process may use. Memory is bounded by
    a few chunks for each worker.
    """
    num_workers = available_cores()
    if num_pictures < FEW_PICTURES or num_workers == 1 or not sys.executable:
        return _map_here(work, pictures)
    return _map_in_workers(work, pictures, num_workers)


def available_cores() -> int:
    """Return how many cores this process may run on, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _map_here(
    work: Callable[[bytes], T], pictures: Iterable[Picture]
) -> Generator[tuple[Picture, T | UnreadableError], None, None]:
    for picture in pictures:
        yield picture, _apply(work, _read(picture))


def _map_in_workers(
    work: Callable[[bytes], T], pictures: Iterable[Picture], num_workers: int
) -> Generator[tuple[Picture, T | UnreadableError], None, None]:
    with contextlib.ExitStack() as stack:
        idle: SimpleQueue[_Worker[T]] = SimpleQueue()
        for _ in range(num_workers):
            worker = _Worker(work)
            stack.callback(worker.close)
            idle.put(worker)
        threads = ThreadPoolExecutor(num_workers)
        stack.callback(threads.shutdown, cancel_futures=True)

        def send(chunk: list[bytes | UnreadableError]) -> list[T | UnreadableError]:
            worker = idle.get()
            try:
                return worker.exchange(chunk)
            finally:
                idle.put(worker)

        pending: deque[tuple[list[Picture], Future[list[T | UnreadableError]]]] = deque()
        for chunk, data in _chunks(pictures):
            pending.append((chunk, threads.submit(send, data)))
            if len(pending) > num_workers + 1:
                yield from _finished(*pending.popleft())
        while pending:
            yield from _finished(*pending.popleft())


def _finished(
    chunk: list[Picture], future: Future[list[T | UnreadableError]]
) -> Iterator[tuple[Picture, T | UnreadableError]]:
    return zip(chunk, future.result(), strict=True)


def _chunks(
    pictures: Iterable[Picture],
) -> Iterator[tuple[list[Picture], list[bytes | UnreadableError]]]:
    chunk: list[Picture] = []
    data: list[bytes | UnreadableError] = []
    num_bytes = 0
    for picture in pictures:
        chunk.append(picture)
        data.append(_read(picture))
        num_bytes += len(data[-1]) if isinstance(data[-1], bytes) else 0
        if len(chunk) == CHUNK_PICTURES or num_bytes >= CHUNK_BYTES:
            yield chunk, data
            chunk, data, num_bytes = [], [], 0
    if chunk:
        yield chunk, data


def _read(picture: Picture) -> bytes | UnreadableError:
    try:
        return picture.read()
    except UnreadableError as error:
        return error


def _apply(work: Callable[[bytes], T], data: bytes | UnreadableError) -> T | UnreadableError:
    if isinstance(data, UnreadableError):
        return data
    try:
        return work(data)
    except UnreadableError as error:
        return error


class _Worker(Generic[T]):
    """A child process that applies `work`; used by one thread at a time."""

    def __init__(self, work: Callable[[bytes], T]) -> None:
        self._work = work
        self._process: subprocess.Popen[bytes] | None = None

    def exchange(self, chunk: list[bytes | UnreadableError]) -> list[T | UnreadableError]:
        """Return the results for a chunk.

        A picture that kills the worker (out of memory, a crash in a decoder) is found by trying the
        chunk's pictures one by one, and is unreadable.
        """
        try:
            return self._ask(chunk)
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
        if len(chunk) == 1:
            return [UnreadableError("the process that decoded it died (out of memory?)")]
        return [result for data in chunk for result in self.exchange([data])]

    def close(self) -> None:
        """End the process, which holds nothing worth keeping."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()  # close the pipes, too
            self._process = None

    def _ask(self, chunk: list[bytes | UnreadableError]) -> list[T | UnreadableError]:
        if self._process is None:
            self._process = _start(self._work)
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        pickle.dump(chunk, requests, protocol=5)
        requests.flush()
        reply: list[T | UnreadableError] | Exception = pickle.load(replies)
        if isinstance(reply, Exception):
            raise reply
        return reply


def _start(work: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # NumPy would start a thread for every core in each of as many workers.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump(work, process.stdin, protocol=5)
        process.stdin.flush()
        pickle.load(process.stdout)
    except (EOFError, OSError) as error:
        process.kill()
        process.communicate()
        # Not an OSError, which would read as a picture's fault.
        raise RuntimeError("a worker process for decoding did not start") from error
    return process


def serve() -> None:
    """Be a worker: read `work` and then chunks from standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the replies
    work = pickle.load(requests)
    reply: object = "ready"
    while True:
        pickle.dump(reply, replies, protocol=5)
        replies.flush()
        try:
            chunk = pickle.load(requests)
        except EOFError:
            return
        try:
            reply = [_apply(work, data) for data in chunk]
        except Exception as error:  # a mistake in `work`, to be raised where it was asked for
            reply = error
