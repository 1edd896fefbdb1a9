"""A visitor's picture: bytes of unknown intent -> the pixels that D takes.

They are decoded in a process of their own, which can be stopped when it takes too long, and whose
memory and possible crash are not the server's.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import numpy as np

from sagan.data.decode import UInt8Array, UnreadableError, check_size_and_fit, decode

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000  # what a telephone's camera puts out
ARRIVAL_SECONDS = 30.0
DECODING_SECONDS = 10.0

_CHILD = (
    "import sys; sys.path[:] = {path!r}; "
    "from sagan.explorer.pictures import decode_standard_input as decode; decode({size}, {fit!r})"
)


class TooLargeError(Exception):
    """More bytes than a picture may have."""


async def received(chunks: AsyncIterator[bytes]) -> bytes:
    """What arrives, as long as it is a picture's size and does not dawdle.

    Raises:
        TooLargeError: more than :data:`MAX_BYTES`.
        TimeoutError: not all there after :data:`ARRIVAL_SECONDS`.
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
    try:
        picture = decode(sys.stdin.buffer.read(), size, check_size_and_fit(size, fit), MAX_PIXELS)
    except UnreadableError as error:
        sys.stdout.buffer.write(b"-" + str(error).encode())
    else:
        sys.stdout.buffer.write(b"+" + picture.tobytes())
