"""Make each system call of a save fail in turn; a sound checkpoint must remain.

    python scripts/faults.py save
    python scripts/faults.py begin --kind crash --kind ENOSPC
    python scripts/faults.py resume --kind "power cut"

There are three tasks: `save` writes one checkpoint of small tensors in place of a damaged one,
`begin` trains a new run, and `resume` resumes one. A first pass counts the calls that change
anything in the run's folder; then the task is repeated from the same files, once for each call and
kind of fault. After each, the newest sound checkpoint must be the old one or the new one, whole;
errors must have been one line; and the same task without a fault must end with the same bits as if
there had been none.
"""

import argparse
import errno
import os
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from chaos import DONE, REFUSED, SETTINGS, Job, fork, is_identical, outcome, prepare_data, train_job
from faulty_disk import ENDED, KINDS, Disk, Kind

from sagan.errors import SaganError
from sagan.run import checkpoint
from sagan.training import recorder

MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Task:
    """A task that saves.

    Attributes:
        prepare: makes the run to start from, if any.
        work: does the task.
        again: does it once more, without a fault; returns how it ended.
        before: the step of the newest sound checkpoint before it; None if there is none.
        after: the same after it.
    """

    prepare: Callable[[Path], None]
    work: Callable[[Path], None]
    again: Callable[[Path], int]
    before: int | None
    after: int


def main() -> int:
    """Try every fault; return 1 if any was handled wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["save", "begin", "resume"])
    parser.add_argument("--kind", choices=KINDS, action="append", help="by default all")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # going back to an earlier checkpoint is correct, too
    # In memory if possible, which is fast; data loss is simulated here anyway.
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name).resolve()
        task = _task(arguments.task, folder, arguments.precision)
        trials = Trials(folder, task)
        wrong = [trials.run(kind) for kind in arguments.kind or KINDS]
    return 1 if any(wrong) else 0


class Trials:
    """One task with its start, and its outcome without a fault."""

    def __init__(self, folder: Path, task: Task) -> None:
        self.task = task
        self.place = folder / "place"
        self._start = folder / "start"
        self._start.mkdir()
        assert _in_child(partial(task.prepare, self._start / "run")) == DONE
        self._begin()
        self.calls = self._count_calls(folder / "calls")
        self._last_flush = max(at for at, call in enumerate(self.calls, 1) if call == "fsync")
        self._expected = outcome(self.place / "run", task.after)

    def _begin(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self._start, self.place)

    def _count_calls(self, listing: Path) -> list[str]:
        def work() -> None:
            disk = Disk(self.place, Kind(), 0)
            disk.install()
            self.task.work(self.place / "run")
            listing.write_text(" ".join(disk.calls))

        assert _in_child(work) == DONE
        return listing.read_text().split()

    def run(self, name: str) -> int:
        """Try a kind of fault at each call where it can occur; return how many were mishandled."""
        kind, wrong = KINDS[name], 0
        ends: Counter[str] = Counter()
        for at, call in enumerate(self.calls, 1):
            if kind.calls and call not in kind.calls:
                continue
            self._begin()
            status = _in_child(partial(self._work_with_fault, kind, at))
            complaint = self._complaint(kind, at, status)
            wrong += bool(complaint)
            if complaint:
                print(f"{name} at call {at} of {len(self.calls)}, {call}: {complaint}")
            ends[{DONE: "unharmed", REFUSED: "refused", ENDED: "ended"}.get(status, "?")] += 1
        counts = ", ".join(f"{number} {end}" for end, number in ends.items())
        print(f"{name}: {sum(ends.values())} faults, {counts}; {wrong} wrong", flush=True)
        return wrong

    def _work_with_fault(self, kind: Kind, at: int) -> None:
        Disk(self.place, kind, at).install()
        try:
            self.task.work(self.place / "run")
        except SaganError as error:
            message = str(error)
            if len(message.splitlines()) > 1 or os.strerror(kind.error) not in message:
                raise RuntimeError("the error is not one line that names the cause") from error
            raise

    def _complaint(self, kind: Kind, at: int, status: int) -> str:
        """Return what is wrong after a fault; empty if nothing is."""
        run, task = self.place / "run", self.task
        expected = {ENDED} if kind.ends else {DONE, REFUSED} if kind.error else {DONE}
        if status not in expected:
            return f"exit status {status}"
        try:
            newest = checkpoint.latest_checkpoint(run)
        except SaganError as error:
            return str(error)
        step = None if newest is None else checkpoint.step_of(newest)
        # The last flush is that of the new checkpoint's name; from then on it must be there.
        is_saved = status == DONE or (kind.ends and at >= self._last_flush)
        if step not in ({task.after} if is_saved else {task.before, task.after}):
            return f"the newest sound checkpoint is of step {step}"
        if kind.error in (errno.ENOSPC, errno.EDQUOT) and _litter(self.place):
            return f"a full disk still contains {_litter(self.place)}"
        if task.again(run) != DONE:
            return "it does not resume"
        if not is_identical(outcome(run, task.after), self._expected):
            return "it resumes with other bits"
        return f"{_litter(self.place)} remains" if _litter(self.place) else ""


def _in_child(work: Callable[[], None]) -> int:
    process = fork(work)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _litter(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob(".*.tmp")]


def _task(name: str, folder: Path, precision: str) -> Task:
    if name == "save":
        return Task(_prepare_checkpoints, _save_next, _save_again, before=3, after=4)
    recorder.draw_images = lambda *_: {}  # slow, and not part of what resumes
    settings = SETTINGS | {"precision": precision}
    data = prepare_data(folder)

    def to(step: int) -> Callable[[Path], None]:
        return partial(train_job, Job(data, settings | {"steps": step}))

    def again(step: int) -> Callable[[Path], int]:
        return lambda run: _in_child(partial(to(step), run))

    if name == "begin":
        return Task(lambda run: None, to(2), again(2), before=None, after=2)
    return Task(to(6), to(8), again(8), before=6, after=8)


def _prepare_checkpoints(run: Path) -> None:
    """Make three sound checkpoints, a damaged one marked to keep, and litter."""
    (run / "checkpoints").mkdir(parents=True)
    for step in (4, 1, 2, 3):  # an order in which none is old enough to be removed
        _save(run, step)
    damaged = checkpoint.folder_of(run, 4)
    (damaged / "ema.safetensors").write_bytes(b"")
    (damaged / "keep").touch()
    (run / "checkpoints" / ".step-00000009.tmp").mkdir()
    (run / "checkpoints" / ".step-00000009.tmp" / "state.json").touch()


def _save_next(run: Path) -> None:
    _save(run, 4)


def _save_again(run: Path) -> int:
    """Save in this process, which may, since it computes nothing: forking takes far longer."""
    _save_next(run)
    return DONE


def _save(run: Path, step: int) -> None:
    tensors = {"a": torch.full((100, 3), float(step)), "b": torch.tensor(step)}
    names = ("generator", "discriminator", "ema", "optimizer")
    checkpoint.save_checkpoint(run, step, dict.fromkeys(names, tensors), {"seconds": 0.5})


if __name__ == "__main__":
    sys.exit(main())
