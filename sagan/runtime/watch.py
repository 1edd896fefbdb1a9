"""A watch over the other processes: it says what is waited for, and ends when one is lost.

A process may wait for hours while another one packs images or computes metrics. So that waiting is
never silent, nor in vain, a thread of each process exchanges a word with all others every second.
If one does not answer for the user's patience, or has ended, the processes that are left end too.
"""

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import ClassVar, NoReturn

import torch
from torch import distributed
from torch.distributed import ProcessGroup

from sagan.errors import SaganError, printable, shorten

PATIENCE = "SAGAN_PATIENCE"  # an environment variable: seconds to wait for a process in silence
DEFAULT_PATIENCE = 300
FIRST_NOTICE = 10.0  # seconds until the first line about waiting; the next after twice as long
BEAT = 1.0  # seconds between two exchanges
POLL = 0.05  # seconds between two looks at an exchange in progress
# Seconds for this process to end by itself, with a better message, after another one has ended.
GRACE = 5.0


def patience() -> timedelta:
    """Return for how long to wait for a process that does not answer.

    Raises:
        SaganError: the environment variable `PATIENCE` is not a number of seconds.
    """
    text = os.environ.get(PATIENCE, str(DEFAULT_PATIENCE))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 1e6:
        raise SaganError(f"{PATIENCE}='{text}' is not a number of seconds from 1 to 1,000,000")
    return timedelta(seconds=seconds)


def is_main_process() -> bool:
    """Return whether this process is the first of those that have met, or the only one."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


class _Wait:
    """A wait that is reported less and less often, in the first two processes of a machine only."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._begun = time.monotonic()
        self._next = FIRST_NOTICE

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._begun

    def consider(self) -> None:
        """Print a line, if one is due."""
        if self.seconds < self._next:
            return
        self._next = 2 * self.seconds
        if os.environ.get("LOCAL_RANK", "0") in ("0", "1"):
            _print(f"{self._what}, for {self.seconds:.0f} s so far")


@contextmanager
def waiting_for(
    what: str, most: float = math.inf, otherwise: Callable[[], str] = str
) -> Iterator[None]:
    """Say on standard error what is waited for, if the context takes longer than `FIRST_NOTICE`.

    Args:
        what: completes "waiting for".
        most: seconds after which this process ends with exit status 2. For the time before the
            processes have met only, when a watch has not begun.
        otherwise: returns the line with which it ends.
    """
    wait = _Wait(f"waiting for {what}")
    if Watch.current is not None:  # its thread is there already, and starting one takes time
        Watch.current.wait = wait
        try:
            yield
        finally:
            Watch.current.wait = None
        return
    ended = threading.Event()

    def notify() -> None:
        while not ended.wait(BEAT):
            wait.consider()
            if wait.seconds > most:
                _print(otherwise())
                os._exit(2)

    thread = threading.Thread(target=notify, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Watch:
    """Watches over the other processes, in a thread, until one of them says that it leaves.

    All processes make one at the same time.

    Args:
        others: names the other processes, for messages.
        limit: how long one may be silent.

    Attributes:
        remedy: what to do if a process is lost, in the user's words.
        wait: what the main thread waits for, None while it does not.
        current: the watch of this process, None before it has met the others.
    """

    current: ClassVar["Watch | None"] = None

    def __init__(self, others: str, limit: timedelta) -> None:
        self.remedy = "start all processes again"
        self.wait: _Wait | None = None
        self._others = others
        self._limit = limit.total_seconds()
        # Of its own, since a group's exchanges must not be started by two threads. Its own timeout
        # is longer, so that this file decides.
        group = distributed.new_group(backend="gloo", timeout=limit + timedelta(seconds=60))
        assert isinstance(group, ProcessGroup)
        self._group = group
        self._ending = threading.Event()  # whether this process ends by itself
        self._silenced = False  # whether because of an error, which the others are to notice
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Tell the others that this process ends because its work is done."""
        self._ending.set()
        self._thread.join(GRACE)
        self._silenced = True

    def stop(self) -> bool:
        """Watch no longer, because this process ends with an error.

        Returns:
            Whether no exchange is in progress, so that connections can be closed.
        """
        self._silenced = True
        self._ending.set()
        self._thread.join(2 * BEAT)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._exchange():
                self._ending.wait(BEAT)
                self._consider_wait()
        except RuntimeError:  # the connection to another process is closed
            if not self._ending.wait(GRACE):
                self._end(f"{self._others} ended or cannot be reached")

    def _exchange(self) -> bool:
        """Exchange a word with all others; return whether one of them leaves.

        Raises:
            RuntimeError: one has ended.
        """
        word = torch.tensor([int(self._ending.is_set() and not self._silenced)])
        silence = _Wait(f"{self._others} does not answer (waiting for at most {self._limit:.0f} s)")
        work = distributed.all_reduce(
            word, distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
        assert work is not None
        while not work.is_completed():
            time.sleep(POLL)
            if silence.seconds > self._limit and not self._silenced:
                self._end(f"{self._others} did not answer for {self._limit:.0f} s ({PATIENCE})")
            silence.consider()
            if silence.seconds < FIRST_NOTICE:
                self._consider_wait()
        work.wait()
        return bool(word.item()) or self._silenced

    def _consider_wait(self) -> None:
        wait = self.wait
        if wait is not None:
            wait.consider()

    def _end(self, why: str) -> NoReturn:
        """End this process at once: its main thread may be waiting where nothing can wake it."""
        _print(f"{why}, so this process ends too: {self.remedy}")
        os._exit(2)


def _print(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any longer
        # In one write, since several processes may share the terminal.
        sys.stderr.write(f"sagan: {shorten(printable(line))}\n")
        sys.stderr.flush()
