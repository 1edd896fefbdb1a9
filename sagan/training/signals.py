"""What the outside asks of a run: to stop, or to save and go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SAVE = getattr(signal, "SIGUSR1", None)  # not on Windows


class Requests:
    """Signals received, to be answered when the step in progress has ended.

    Attributes:
        stop: SIGINT (Ctrl-C) or SIGTERM, or 0. A second Ctrl-C is not held back.
        save: whether SIGUSR1 came, with which SLURM and spot machines announce an end.
    """

    def __init__(self) -> None:
        self.stop = 0
        self.save = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if number == _SAVE:
            self.save = True
            return
        self.stop = number
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def received_requests() -> Iterator[Requests]:
    """Hold signals back within the context; only the main thread of a process gets any."""
    requests = Requests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([_SAVE] if _SAVE else [])]
    before = {number: signal.signal(number, requests.receive) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
