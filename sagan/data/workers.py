"""Reading and decoding on all cores: chunks of pictures out to worker processes, results back in
order.

Processes, since threads are slower than one core on small pictures (50,000 CIFAR-10 JPEGs: 7.5 s
with two threads, 5.1 s with none): the part of Pillow that holds the interpreter lock dominates.

Not `multiprocessing`: fork is unsafe under a process that runs torch, spawn and forkserver import
the user's main script again, which a script without a main guard does not survive and a notebook
does not have, and a pool cannot be used from a daemonic process. A worker here is a plain child
that reads pickled chunks from its standard input, ends when its input does (so also when its parent
is killed), and whose death tells which chunk it died on.
"""

import contextlib
import itertools
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import IO, Generic, TypeVar

from sagan.data.sources.base import Picture
from sagan.errors import UnreadableError

T = TypeVar("T")

# A chunk grows until a worker takes this long over it: passing it on then costs little, and all
# workers end at about the same time.
CHUNK_SECONDS = 0.1
CHUNK_PICTURES = 512
# The results of a chunk, several of which are in memory for each worker.
CHUNK_BYTES = 4 * 1024**2
# A source of fewer pictures is begun here, and done before workers have started unless its pictures
# are large.
FEW_PICTURES = 512
FEW_SECONDS = 1.0

_WORKER = "import sys; sys.path[:] = {path!r}; from sagan.data.workers import serve; serve()"

Read = Callable[[], bytes]


def map_pictures(
    work: Callable[[bytes], T],
    pictures: Iterable[Picture],
    num_pictures: int | None,
) -> Generator[tuple[Picture, T | UnreadableError], None, None]:
    """Read every picture and apply `work` to its bytes, yielding results in the pictures' order.

    Args:
        work: picklable; what it raises as UnreadableError is its result.
        pictures: in order.
        num_pictures: how many, if known: decides only whether to start workers at once.
    """
    chunks = map_chunks(partial(each, work), pictures, num_pictures)
    with contextlib.closing(chunks):
        for chunk, results in chunks:
            yield from zip(chunk, results, strict=True)


def each(work: Callable[[bytes], T], reads: Sequence[Read]) -> list[T | UnreadableError]:
    """Read pictures and apply `work` to the bytes of each; what cannot be read is the exception."""
    return [_apply(work, read) for read in reads]


def map_chunks(
    work: Callable[[Sequence[Read]], T],
    pictures: Iterable[Picture],
    num_pictures: int | None,
    picture_bytes: int = 0,
) -> Generator[tuple[list[Picture], T], None, None]:
    """Apply `work` to chunks of pictures, each given as a function that reads it, in their order.

    Memory is bounded by a few chunks for each worker, one worker for each core that this process
    may use.

    Args:
        work: picklable; a read that raises UnreadableError is for it to answer.
        pictures: in order.
        num_pictures: how many, if known: decides only whether to start workers at once.
        picture_bytes: about how large the result for one picture is.
    """
    num_workers = available_cores()
    if num_workers == 1 or not sys.executable:
        return _map_here(work, pictures)
    if num_pictures is not None and num_pictures < FEW_PICTURES:
        return _map_here_at_first(work, iter(pictures), num_workers, picture_bytes)
    return _map_in_workers(work, pictures, num_workers, picture_bytes)


def available_cores() -> int:
    """Return how many cores this process may run on, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _map_here(
    work: Callable[[Sequence[Read]], T], pictures: Iterable[Picture]
) -> Generator[tuple[list[Picture], T], None, None]:
    for picture in pictures:
        yield [picture], work([picture.read])


def _map_here_at_first(
    work: Callable[[Sequence[Read]], T],
    pictures: Iterator[Picture],
    num_workers: int,
    picture_bytes: int,
) -> Generator[tuple[list[Picture], T], None, None]:
    start = time.monotonic()
    for picture in pictures:
        yield [picture], work([picture.read])
        if time.monotonic() - start > FEW_SECONDS:
            break
    # Of what is left, if anything is.
    if (following := next(pictures, None)) is not None:
        rest = itertools.chain([following], pictures)
        yield from _map_in_workers(work, rest, num_workers, picture_bytes)


def _map_in_workers(
    work: Callable[[Sequence[Read]], T],
    pictures: Iterable[Picture],
    num_workers: int,
    picture_bytes: int,
) -> Generator[tuple[list[Picture], T], None, None]:
    with contextlib.ExitStack() as stack:
        idle: SimpleQueue[_Worker[T]] = SimpleQueue()
        for _ in range(num_workers):
            worker = _Worker(work)
            stack.callback(worker.close)
            idle.put(worker)
        threads = ThreadPoolExecutor(num_workers)
        stack.callback(threads.shutdown, cancel_futures=True)
        pace = _Pace(picture_bytes)

        def send(chunk: list[Picture]) -> list[tuple[list[Picture], T]]:
            worker = idle.get()
            start = time.monotonic()
            try:
                results = worker.exchange(chunk)
            finally:
                idle.put(worker)
            pace.took(len(chunk), time.monotonic() - start)
            return results

        pending: deque[Future[list[tuple[list[Picture], T]]]] = deque()
        remaining = iter(pictures)
        while chunk := list(itertools.islice(remaining, pace.pictures)):
            pending.append(threads.submit(send, chunk))
            if len(pending) > num_workers + 1:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


class _Pace:
    """How many pictures to put into a chunk, from how long those before took."""

    def __init__(self, picture_bytes: int) -> None:
        self._most = max(1, min(CHUNK_PICTURES, CHUNK_BYTES // max(1, picture_bytes)))
        self.pictures = min(8, self._most)

    def took(self, num_pictures: int, seconds: float) -> None:
        """Learn how long a worker took over a chunk."""
        fitting = int(num_pictures * CHUNK_SECONDS / max(seconds, 1e-6))
        self.pictures = max(1, min(fitting, 4 * num_pictures, self._most))


def _apply(work: Callable[[bytes], T], read: Read) -> T | UnreadableError:
    try:
        return work(read())
    except UnreadableError as error:
        return error


def _raise_died() -> bytes:
    raise UnreadableError("the process that decoded it died (out of memory?)")


class _Worker(Generic[T]):
    """A child process that applies `work`; used by one thread at a time."""

    def __init__(self, work: Callable[[Sequence[Read]], T]) -> None:
        self._work = work
        self._process: subprocess.Popen[bytes] | None = None

    def exchange(self, chunk: list[Picture]) -> list[tuple[list[Picture], T]]:
        """Return the result for a chunk, or those for its parts.

        A picture that kills the worker (out of memory, a crash in a decoder) is found by trying the
        chunk's pictures one by one, and is unreadable.
        """
        if self._process is None:
            self._process = _spawn()
            _brief(self._process, self._work)
        try:
            return [(chunk, self._ask(self._process, [picture.read for picture in chunk]))]
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
        if len(chunk) == 1:
            return [(chunk, self._work([_raise_died]))]
        return [result for picture in chunk for result in self.exchange([picture])]

    def close(self) -> None:
        """End the process, which holds nothing worth keeping."""
        if self._process is not None:
            _end(self._process)
        self._process = None

    def _ask(self, process: subprocess.Popen[bytes], reads: list[Read]) -> T:
        requests, replies = process.stdin, process.stdout
        assert requests is not None
        assert replies is not None
        pickle.dump(reads, requests, protocol=5)
        requests.flush()
        reply: T | Exception = pickle.load(replies)
        if isinstance(reply, Exception):
            raise reply
        return reply


def _spawn() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # NumPy would start a thread for every core in each of as many workers.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()  # close the pipes, too


def _brief(process: subprocess.Popen[bytes], work: object) -> None:
    """Tell a new worker what its work is, and wait until it is ready."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump(work, process.stdin, protocol=5)
        process.stdin.flush()
        pickle.load(process.stdout)
    except (EOFError, OSError) as error:
        _end(process)
        # Not an OSError, which would read as a picture's fault.
        raise RuntimeError("a worker process for decoding did not start") from error


def serve() -> None:
    """Be a worker: read `work` and then chunks from standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the replies
    with contextlib.suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):
        # Until the parent is gone, perhaps in the middle of a chunk.
        _answer(requests, replies)


def _answer(requests: IO[bytes], replies: IO[bytes]) -> None:
    work = pickle.load(requests)
    reply: object = "ready"
    while True:
        pickle.dump(reply, replies, protocol=5)
        replies.flush()
        chunk = pickle.load(requests)
        try:
            reply = work(chunk)
        except Exception as error:  # a mistake in `work`, to be raised where it was asked for
            reply = error
