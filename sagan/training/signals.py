"""Requests to a running training, made by signals: to stop, or to save and continue."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SAVE = getattr(signal, "SIGUSR1", None)  # not on Windows
_HANGUP = getattr(signal, "SIGHUP", None)
# What a shell reports of a program whose reader has gone; Windows does not have the signal.
CLOSED_OUTPUT = 13


class Requests:
    """The signals received, to be answered after the step in progress.

    Attributes:
        stop: SIGINT (Ctrl-C), SIGTERM, SIGHUP (a closed terminal) or `CLOSED_OUTPUT`, or 0. A
            second Ctrl-C interrupts at once.
        save: whether SIGUSR1 was received, by which SLURM and spot machines announce their end.
    """

    def __init__(self) -> None:
        self.stop = 0
        self.save = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if number == _SAVE:
            self.save = True
            return
        self.stop = number
        if signal.getsignal(signal.SIGINT) == self.receive:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def received_requests() -> Iterator[Requests]:
    """Collect signals within the context; only a process's main thread receives any.

    Signals that are ignored stay so: a hangup under nohup, Ctrl-C in a script's background jobs.
    """
    requests = Requests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    known = [number for number in (signal.SIGINT, signal.SIGTERM, _SAVE, _HANGUP) if number]
    numbers = [number for number in known if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, requests.receive) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
