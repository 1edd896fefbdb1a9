"""A visitor's picture in the generator: its projection as a stream of lines, with the progress."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Mapping

from sagan.errors import SaganError, is_out_of_memory, printable
from sagan.explorer.renderer import Renderer
from sagan.explorer.work_queue import BusyError, WorkQueue
from sagan.types import UInt8Array

PROGRESS_PERIOD = 0.3  # seconds from one line to the next


class _StoppedError(Exception):
    """The visitor has left."""


async def projection_lines(
    renderer: Renderer, queue: WorkQueue, image: UInt8Array
) -> AsyncIterator[bytes]:
    """Yield JSON lines on the search for the sample nearest to an image, and at last the sample.

    While it runs, `{"done": 40, "total": 120}`, in steps. Then `{"payload": ..., "distance": ...,
    "random_distance": ...}`: the sample as in `sagan.explorer.payload`, in base64; its distance,
    and that of the nearest random sample, as in `sagan.explain.projection`. If it fails,
    `{"detail": ...}`. It is stopped when nobody reads the lines any longer.

    Args:
        renderer: the networks.
        queue: where they compute.
        image: uint8 (H, W, C).
    """
    progress = {"done": 0, "total": 0}
    left = threading.Event()

    def report(done: int, total: int) -> None:
        if left.is_set():
            raise _StoppedError
        progress.update(done=done, total=total)

    def search() -> bytes:
        payload, found = renderer.project(image, report)
        content = base64.b64encode(payload.encode()).decode()
        distances = {"distance": found.distance, "random_distance": found.random_distance}
        return _line({"payload": content, **distances})

    # The job's key is its own: two visitors do not share it, since one of them may leave, and
    # nobody asks for its result again.
    job = asyncio.ensure_future(queue.get(search, search, keep=False))
    try:
        while not (await asyncio.wait({job}, timeout=PROGRESS_PERIOD))[0]:
            yield _line(progress)
        yield await job
    except BusyError:
        yield _line({"detail": "the server is busy: try again in a moment"})
    except SaganError as error:
        yield _line({"detail": printable(str(error))})
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        yield _line({"detail": "the server has not enough memory for this: try again later"})
    finally:
        left.set()
        job.cancel()


def _line(content: Mapping[str, object]) -> bytes:
    return json.dumps(content).encode() + b"\n"
