"""A visitor's image: bytes of unknown intent -> the pixels that D takes.

Images are decoded in a child process. It can be stopped when it takes too long, and neither its
memory, which is limited on Linux, nor a crash is the server's.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from sagan.errors import UnreadableError
from sagan.explorer.work_queue import BusyError
from sagan.images.decode import check_fit, decode
from sagan.images.shape import Colors, ImageShape, Resolution
from sagan.types import UInt8Array

MAX_BYTES = 32 * 2**20
MAX_UPLOAD_PIXELS = 50_000_000  # a phone camera's full resolution
MAX_MEMORY = 2 * 2**30  # a lossless WebP with that many pixels takes 1.4 GiB
UPLOAD_SECONDS = 30.0
DECODING_SECONDS = 10.0
MAX_UPLOADS = 8  # in progress at a time
MAX_DECODERS = 2  # child processes at a time

_CHILD = (
    "import sys; sys.path[:] = {path!r}; "
    "from sagan.explorer.uploads import decode_standard_input as decode; "
    "decode({size!r}, {colors!r}, {fit!r})"
)


class TooLargeError(Exception):
    """The upload has more bytes than an image may have."""


class UploadDecoder:
    """Receives and decodes uploaded images: a few at a time, each within a time limit.

    Args:
        shape: of the resulting image.
        fit: how images get its proportions, as in `sagan data pack --fit`.
    """

    def __init__(self, shape: ImageShape, fit: str) -> None:
        self._shape = shape
        self._fit = fit
        self._uploads = 0
        self._decoders = asyncio.Semaphore(MAX_DECODERS)

    async def decode(self, chunks: AsyncIterator[bytes]) -> UInt8Array:
        """Return an image file that arrives in chunks as uint8 (H, W, C).

        Raises:
            BusyError: as many uploads as allowed are in progress.
            TooLargeError, TimeoutError: see `receive`.
            UnreadableError: see `decode_in_child`.
        """
        if self._uploads >= MAX_UPLOADS:
            raise BusyError
        self._uploads += 1
        try:
            data = await receive(chunks)
            async with self._decoders:
                return await decode_in_child(data, self._shape, self._fit)
        finally:
            self._uploads -= 1


async def receive(chunks: AsyncIterator[bytes]) -> bytes:
    """Return all chunks joined, within the limits on size and time.

    Raises:
        TooLargeError: they have more than `MAX_BYTES`.
        TimeoutError: they did not all arrive within `UPLOAD_SECONDS`.
    """
    data = bytearray()

    async def collect() -> None:
        async for chunk in chunks:
            data.extend(chunk)
            if len(data) > MAX_BYTES:
                raise TooLargeError

    try:
        await asyncio.wait_for(collect(), UPLOAD_SECONDS)
    except asyncio.TimeoutError:  # not the built-in one before Python 3.11
        raise TimeoutError from None
    return bytes(data)


async def decode_in_child(data: bytes, shape: ImageShape, fit: str) -> UInt8Array:
    """Return an image file's bytes as uint8 (H, W, C), in the proportions of the training images.

    Raises:
        UnreadableError: not an image, damaged, too many pixels, or too much time or memory needed.
    """
    code = _CHILD.format(path=sys.path, size=shape.resolution, colors=shape.colors, fit=fit)
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
    return np.frombuffer(out, np.uint8, offset=1).reshape(shape)


def decode_standard_input(size: Resolution, colors: Colors, fit: str) -> None:
    """Write "+" and the pixels, or "-" and the reason, to standard output: the child's part."""
    _limit_memory()
    try:
        data = sys.stdin.buffer.read()
        image = decode(data, size, check_fit(fit), MAX_UPLOAD_PIXELS, colors=colors)
    except UnreadableError as error:
        sys.stdout.buffer.write(b"-" + str(error).encode())
    except MemoryError:
        sys.stdout.buffer.write(b"-it needs more memory than an image may take")
    else:
        sys.stdout.buffer.write(b"+" + image.tobytes())


def _limit_memory() -> None:
    """Allow this process MAX_MEMORY beyond what libraries reserve, which grows with the cores.

    Linux only: macOS does not support the limit.
    """
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + MAX_MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
