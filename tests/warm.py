"""Python processes that start at once: forks of one that has imported what takes seconds.

For tests that need processes of their own but not their cold start. The process that is forked is
`multiprocessing`'s forkserver, which never computes and so has no threads.
"""

import atexit
import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

IN_THE_FORK = "warm"
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([
    "torch._dynamo", "torch.distributed.tensor", "accelerate", "matplotlib.pyplot",
    "sagan.cli.app", "sagan.cli.train", "sagan.cli.data", "sagan.training.loop",
    "sagan.training.session", "sagan.explain.draw", "sagan.metrics.evaluation",
])  # fmt: skip


class Output:
    """What a process prints: a file that grows. As a pipe does, it gives everything once."""

    def __init__(self, path: Path, is_running: Callable[[], bool]) -> None:
        self._path, self._is_running, self._given = path, is_running, 0

    def read(self) -> str:
        """Return the rest of what has been printed."""
        return self._give(self._rest())

    def readline(self) -> str:
        """Wait for a line and return it, or what there is of it when the process has ended."""
        while True:
            running = self._is_running()  # asked first: what is printed last must not be missed
            rest = self._rest()
            end = rest.find("\n") + 1
            if end or not running:
                return self._give(rest[: end or None])
            time.sleep(0.01)

    def _rest(self) -> str:
        return self._path.read_text()[self._given :] if self._path.exists() else ""

    def _give(self, text: str) -> str:
        self._given += len(text)
        return text


class WarmProcess:
    """A Python process, with what tests use of the interface of `subprocess.Popen`.

    Args:
        arguments: of Python: `-c` and code, `-m` and a module, or a script, and what these take.
        env: its environment.
        folder: an empty folder for its output.
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        outputs = folder / "out", folder / "err"
        self.stdout, self.stderr = (Output(path, self._is_running) for path in outputs)
        given = {"GIVEN": (list(arguments), dict(env), *outputs)}
        # By its path, since a library may have installed another package "tests".
        self._process = _CONTEXT.Process(target=runpy.run_path, args=(__file__, given, IN_THE_FORK))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self._process.exitcode

    def _is_running(self) -> bool:
        return self.poll() is None

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return the rest of what it has printed when it has ended."""
        self.wait(timeout)
        return self.stdout.read(), self.stderr.read()

    def send_signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def _run(arguments: list[str], env: dict[str, str], out: Path, err: Path) -> None:
    """Run code as Python does with these arguments."""
    gc.freeze()  # a collection would copy every page of what was imported
    for path, standard in ((out, sys.stdout), (err, sys.stderr)):
        with path.open("w") as file:
            os.dup2(file.fileno(), standard.fileno())
        standard.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(env)
    # Not the folder for temporary files of the process that asked.
    multiprocessing.current_process()._config.pop("tempdir", None)  # type: ignore[attr-defined]
    tempfile.tempdir = None
    first, *rest = arguments
    try:
        if first == "-c":
            code, *rest = rest
            sys.argv = [first, *rest]
            main = types.ModuleType("__main__")
            sys.modules["__main__"] = main
            exec(compile(code, "<string>", "exec"), main.__dict__)
        elif first == "-m":
            sys.argv = list(rest)
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [first, *rest]
            sys.path.insert(0, str(Path(first).resolve().parent))
            runpy.run_path(first, run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out


if __name__ == IN_THE_FORK:
    _run(*globals()["GIVEN"])
