"""A visitor's picture: bytes of unknown intent -> the pixels that D takes.

They are decoded in a process of their own, which can be stopped when it takes too long, and whose
memory, bounded on Linux, and possible crash are not the server's.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from sagan.errors import UnreadableError
from sagan.explorer.work_queue import BusyError
from sagan.images.decode import check_size_and_fit, decode
from sagan.types import UInt8Array

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000  # what a telephone's camera puts out
MAX_MEMORY = 2 * 2**30  # a lossless WebP of as many pixels takes 1.4
ARRIVAL_SECONDS = 30.0
DECODING_SECONDS = 10.0
UPLOADS = 8  # on their way in at a time
DECODERS = 2  # of them being decoded

_CHILD = (
    "import sys; sys.path[:] = {path!r}; "
    "from sagan.explorer.uploads import decode_standard_input as decode; decode({size}, {fit!r})"
)


class TooLargeError(Exception):
    """More bytes than a picture may have."""


class Intake:
    """Where pictures come in: a few at a time, none for long.

    Args:
        size: of the pixels that come out, see `decoded`.
        fit: how they are made square.
    """

    def __init__(self, size: int, fit: str) -> None:
        self._size = size
        self._fit = fit
        self._inside = 0
        self._decoders = asyncio.Semaphore(DECODERS)

    async def take(self, chunks: AsyncIterator[bytes]) -> UInt8Array:
        """A picture file as it arrives -> uint8 (size, size, 3).

        Raises:
            BusyError: as many as there is room for are on their way.
            TooLargeError, TimeoutError: see `received`.
            UnreadableError: see `decoded`.
        """
        if self._inside >= UPLOADS:
            raise BusyError
        self._inside += 1
        try:
            data = await received(chunks)
            async with self._decoders:
                return await decoded(data, self._size, self._fit)
        finally:
            self._inside -= 1


async def received(chunks: AsyncIterator[bytes]) -> bytes:
    """What arrives, as long as it is a picture's size and does not dawdle.

    Raises:
        TooLargeError: more than `MAX_BYTES`.
        TimeoutError: not all there after `ARRIVAL_SECONDS`.
    """
    data = bytearray()

    async def collect() -> None:
        async for chunk in chunks:
            data.extend(chunk)
            if len(data) > MAX_BYTES:
                raise TooLargeError

    try:
        await asyncio.wait_for(collect(), ARRIVAL_SECONDS)
    except asyncio.TimeoutError:  # before Python 3.11 not the built-in one
        raise TimeoutError from None
    return bytes(data)


async def decoded(data: bytes, size: int, fit: str) -> UInt8Array:
    """A picture file's bytes -> uint8 (size, size, 3), made square as for training.

    Raises:
        UnreadableError: no picture, damaged, too many pixels, or more work than it may be.
    """
    code = _CHILD.format(path=sys.path, size=size, fit=fit)
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        out, _ = await asyncio.wait_for(child.communicate(data), DECODING_SECONDS)
    except asyncio.TimeoutError:
        raise UnreadableError(f"not decoded after {DECODING_SECONDS:g} seconds") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode or not out:
        raise UnreadableError("its decoder crashed")
    if out[:1] == b"-":
        raise UnreadableError(out[1:].decode())
    return np.frombuffer(out, np.uint8, offset=1).reshape(size, size, 3)


def decode_standard_input(size: int, fit: str) -> None:
    """The child's part: "+" and the pixels, or "-" and the reason, to standard output."""
    _bound_memory()
    try:
        picture = decode(sys.stdin.buffer.read(), size, check_size_and_fit(size, fit), MAX_PIXELS)
    except UnreadableError as error:
        sys.stdout.buffer.write(b"-" + str(error).encode())
    except MemoryError:
        sys.stdout.buffer.write(b"-more memory than a picture may take")
    else:
        sys.stdout.buffer.write(b"+" + picture.tobytes())


def _bound_memory() -> None:
    """Let this process have MAX_MEMORY beside what libraries reserve, which grows with the cores.

    On Linux; macOS takes no such limit.
    """
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + MAX_MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
