"""One contender of the step benchmark in its own process: `python -m benchmarks.contender ...`.

So none is affected by what another does to the memory allocator. Ours keeps freed memory, as the
command line does; the others run as they would by themselves. The process takes a step for each
line that it reads, and answers with an empty line.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sagan.config import Config, parse_config
from sagan.runtime.malloc import keep_freed_memory


class Contender:
    """A process that trains: entering the context waits for its first step, leaving it ends it.

    Args:
        name: "ours", "naive" or "checkout".
        config: what to train.
        checkout: the folder of the other implementation.
    """

    def __init__(self, name: str, config: Config, checkout: Path | None = None) -> None:
        arguments = [name, config.to_json(), str(checkout or "")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contender", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def step(self) -> None:
        """Take one step, in the other process."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self._wait()

    def _wait(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"\n":
            raise RuntimeError("a contender of the benchmark ended early")

    def __enter__(self) -> "Contender":
        try:
            self._wait()
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def make_step(name: str, config: Config, checkout: str) -> Callable[[], object]:
    """Return a function that takes a step."""
    from benchmarks.checkout import Checkout
    from benchmarks.naive import Naive
    from benchmarks.workload import NUM_CLASSES, ready_batches, start_training

    if name == "ours":
        keep_freed_memory()
        return start_training(config).advance
    if name == "naive":
        return Naive(config, NUM_CLASSES, ready_batches(config)).step
    return Checkout(Path(checkout), config, ready_batches(config)).step


def main() -> None:
    """Take steps on request, until standard input ends."""
    name, settings, checkout = sys.argv[1:]
    step = make_step(name, parse_config(json.loads(settings)), checkout)
    step()
    print(flush=True)
    for _ in sys.stdin:
        step()
        print(flush=True)


if __name__ == "__main__":
    main()
