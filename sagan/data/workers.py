"""Reading and decoding on all cores: chunks of images go out to worker processes, results come back
in order.

Processes, because threads are slower than one core on small images (50,000 CIFAR-10 JPEGs: 7.5 s
with two threads, 5.1 s with none): the part of Pillow that holds the interpreter lock dominates.

Not `multiprocessing`: fork is unsafe under a process that runs torch; spawn and forkserver import
the user's main script again, which fails for a script without a main guard and in a notebook; and
a pool cannot be used from a daemonic process. A worker here is a plain child process that reads
pickled chunks from its standard input. It ends when its input ends (so also when its parent is
killed), and its death shows which chunk it died on.
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

from sagan.data.sources.base import SourceImage
from sagan.errors import SaganError, UnreadableError, reason
from sagan.runtime.machine import available_cores

T = TypeVar("T")

# A chunk grows until a worker takes this long over it: then handing it over costs little, and all
# workers end at about the same time.
CHUNK_SECONDS = 0.1
CHUNK_IMAGES = 512
# Bounds the results of a chunk; several chunks for each worker are in memory.
CHUNK_BYTES = 4 * 1024**2
# A smaller source is begun in this process, and done before workers would have started unless its
# images are large: then, after some time, workers take over.
MAX_LOCAL_IMAGES = 512
MAX_LOCAL_SECONDS = 1.0

_WORKER = (
    "import sys; sys.path[:] = {path!r}; from sagan.data.workers import serve_chunks; "
    "serve_chunks()"
)

Read = Callable[[], bytes]


def map_images(
    work: Callable[[bytes], T],
    images: Iterable[SourceImage],
    num_images: int | None,
) -> Generator[tuple[SourceImage, T | UnreadableError], None, None]:
    """Read every image and apply `work` to its bytes, yielding results in the images' order.

    Args:
        work: picklable; an UnreadableError that it raises is its result.
        images: in order.
        num_images: how many, if known; decides only whether to start workers at once.
    """
    chunks = map_chunks(partial(each, work), images, num_images)
    with contextlib.closing(chunks):
        for chunk, results in chunks:
            yield from zip(chunk, results, strict=True)


def each(work: Callable[[bytes], T], reads: Sequence[Read]) -> list[T | UnreadableError]:
    """Read images and apply `work` to the bytes of each; the result may be an UnreadableError."""
    return [_apply(work, read) for read in reads]


def map_chunks(
    work: Callable[[Sequence[Read]], T],
    images: Iterable[SourceImage],
    num_images: int | None,
    result_bytes: int = 0,
) -> Generator[tuple[list[SourceImage], T], None, None]:
    """Apply `work` to chunks of images, each image given as a function that reads it, in order.

    There is one worker for each core that this process may use, and memory is bounded by a few
    chunks for each.

    Args:
        work: picklable; must handle the UnreadableError that reading may raise.
        images: in order.
        num_images: how many, if known; decides only whether to start workers at once.
        result_bytes: about how large the result for one image is.
    """
    num_workers = available_cores()
    if num_workers == 1 or not sys.executable:
        return _map_here(work, images)
    if num_images is not None and num_images < MAX_LOCAL_IMAGES:
        return _map_here_at_first(work, iter(images), num_workers, result_bytes)
    return _map_in_workers(work, images, num_workers, result_bytes)


def _map_here(
    work: Callable[[Sequence[Read]], T], images: Iterable[SourceImage]
) -> Generator[tuple[list[SourceImage], T], None, None]:
    for image in images:
        yield [image], work([image.read])


def _map_here_at_first(
    work: Callable[[Sequence[Read]], T],
    images: Iterator[SourceImage],
    num_workers: int,
    result_bytes: int,
) -> Generator[tuple[list[SourceImage], T], None, None]:
    start = time.monotonic()
    for result in _map_here(work, images):
        yield result
        if time.monotonic() - start > MAX_LOCAL_SECONDS:
            break
    # No workers are started if nothing is left.
    if (following := next(images, None)) is not None:
        rest = itertools.chain([following], images)
        yield from _map_in_workers(work, rest, num_workers, result_bytes)


def _map_in_workers(
    work: Callable[[Sequence[Read]], T],
    images: Iterable[SourceImage],
    num_workers: int,
    result_bytes: int,
) -> Generator[tuple[list[SourceImage], T], None, None]:
    with contextlib.ExitStack() as stack:
        idle: SimpleQueue[_Worker[T]] = SimpleQueue()
        for _ in range(num_workers):
            worker = _Worker(work)
            stack.callback(worker.close)
            idle.put(worker)
        threads = ThreadPoolExecutor(num_workers)
        stack.callback(threads.shutdown, cancel_futures=True)
        pace = _Pace(result_bytes)

        def send(chunk: list[SourceImage]) -> list[tuple[list[SourceImage], T]]:
            worker = idle.get()
            start = time.monotonic()
            try:
                results = worker.exchange(chunk)
            finally:
                idle.put(worker)
            pace.record(len(chunk), time.monotonic() - start)
            return results

        pending: deque[Future[list[tuple[list[SourceImage], T]]]] = deque()
        remaining = iter(images)
        while chunk := list(itertools.islice(remaining, pace.chunk_size)):
            pending.append(threads.submit(send, chunk))
            # One chunk for each worker, and one that is ready when the first becomes idle.
            if len(pending) > num_workers + 1:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


class _Pace:
    """How many images to put into a chunk, given how long earlier chunks took."""

    def __init__(self, result_bytes: int) -> None:
        self._most = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // max(1, result_bytes)))
        self.chunk_size = min(8, self._most)

    def record(self, num_images: int, seconds: float) -> None:
        """Take into account how long a worker took over a chunk."""
        fitting = int(num_images * CHUNK_SECONDS / max(seconds, 1e-6))
        self.chunk_size = max(1, min(fitting, 4 * num_images, self._most))


def _apply(work: Callable[[bytes], T], read: Read) -> T | UnreadableError:
    try:
        return work(read())
    except UnreadableError as error:
        return error


def _raise_died() -> bytes:
    raise UnreadableError("the process that decoded it died (out of memory?)")


class _Worker(Generic[T]):
    """A child process that applies `work`, started when first used; for one thread at a time."""

    def __init__(self, work: Callable[[Sequence[Read]], T]) -> None:
        self._work = work
        self._process: subprocess.Popen[bytes] | None = None

    def exchange(self, chunk: list[SourceImage]) -> list[tuple[list[SourceImage], T]]:
        """Return the result for a chunk, or the results for its parts.

        If the worker dies (out of memory, a crash in a decoder), the chunk's images are tried one
        by one to find the one that killed it, which is then unreadable.
        """
        if not self._process:
            self._process = _start(self._work)
        try:
            return [(chunk, self._ask(self._process, [image.read for image in chunk]))]
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
        if len(chunk) == 1:
            return [(chunk, self._work([_raise_died]))]
        return [result for image in chunk for result in self.exchange([image])]

    def close(self) -> None:
        """End the process, which has nothing worth keeping."""
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


def _start(work: object) -> subprocess.Popen[bytes]:
    """Start a worker process, send it its work, and wait until it is ready.

    Raises:
        SaganError: it does not start, which is not the fault of an image.
    """
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Otherwise NumPy would start a thread for every core in each worker.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    except OSError as error:
        raise _not_started(reason(error)) from None
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump(work, process.stdin, protocol=5)
        process.stdin.flush()
        pickle.load(process.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        _end(process)
        raise _not_started("it ended at once") from None
    return process


def _not_started(why: str) -> SaganError:
    return SaganError(
        f"a process that was to decode pictures did not start: {why}; if memory is short, close "
        "other programs, and give the same command again"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()  # also closes the pipes


def serve_chunks() -> None:
    """Be a worker: read `work`, then chunks, from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get among the replies
    # The parent may be killed while it sends a chunk or waits for one.
    with contextlib.suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):
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
        except Exception as error:  # a bug in `work`, to be raised in the parent
            reply = error
