"""Kill a training again and again; it must end with the same bits as an undisturbed one.

    python scripts/chaos.py --trials 50
    python scripts/chaos.py --trials 50 --processes 2 --precision bfloat16

Each trial trains a small model in child processes and kills it with SIGKILL at random times, half
of them while a checkpoint is being written; one time in four it asks it to stop with SIGTERM
instead. It restarts the training until it is finished, and compares every tensor of the final
checkpoint with that of an undisturbed run. Of several processes, either all are killed, or one is,
and the others must then end by themselves soon.
"""

import argparse
import os
import random
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sagan.data import open_source, pack
from sagan.errors import SaganError
from sagan.run import checkpoint
from sagan.run.stats import read_records
from sagan.training import images, measurements
from sagan.training.loop import Interrupted, train
from sagan.training.recorder import Reporter
from sagan.training.session import prepare_session

STEPS = 12
KILLS = 3  # per trial, or requests to stop
# Seconds after one process has ended until the others receive SIGTERM; launchers send it at once,
# since some may wait for one that died before all had met. After twice that time the trial fails.
TIMEOUT = 10
SETTINGS: dict[str, Any] = {
    "channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 4, "steps": STEPS,
    "augment": "adaptive", "ema_half_life": 50, "checkpoint_every": 2, "sample_every": 1000,
    "log_every": 1,
}  # fmt: skip
DONE, FAILED, REFUSED, STOPPED = 0, 1, 2, 128 + signal.SIGTERM

Kill = Callable[[list[int]], None]  # kills some of these processes


@dataclass(frozen=True)
class End:
    """How a training ended.

    Attributes:
        killed: whether any process was killed or asked to stop.
        seconds: from the first process's end to the last one's.
        terminated: whether the others had to be sent SIGTERM.
    """

    killed: bool
    seconds: float
    terminated: bool


class Silent(Reporter):
    """Shows nothing."""


@dataclass(frozen=True)
class Job:
    """A training: the packed set, the settings, and the number of processes."""

    data: Path
    settings: dict[str, Any]
    processes: int = 1


def main() -> int:
    """Run the trials; return 1 if any run ended with other bits than the undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the random times")
    arguments = parser.parse_args()
    # Figures and measurements take longer than the steps.
    images.MAX_FIGURE_IMAGES, measurements.MEASURED_IMAGES = 1, 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = SETTINGS | {"precision": arguments.precision}
        job = Job(prepare_data(folder), settings, arguments.processes)
        same = run_trials(folder, job, arguments.trials, random.Random(arguments.seed))
    kind = f"{arguments.precision}, processes: {arguments.processes}, seed {arguments.seed}"
    print(f"{same} of {arguments.trials} identical ({kind})")
    return 0 if same == arguments.trials else 1


def run_trials(folder: Path, job: Job, trials: int, rng: random.Random) -> int:
    """Return how many of the trials ended with the bits of an undisturbed run."""
    expected = undisturbed(job, folder / "undisturbed")
    same = 0
    for trial in range(trials):
        run = folder / f"trial{trial}"
        ends: list[End] = []
        while not checkpoint.folder_of(run, STEPS).is_dir():
            kill = _killer(run, rng) if sum(end.killed for end in ends) < KILLS else _spare
            ends.append(train_in_children(job, run, kill))
        identical = is_identical(outcome(run, STEPS), expected)
        same += identical
        print(
            f"trial {trial}: {_summary(ends)}: {'same' if identical else 'OTHER'} bits", flush=True
        )
    return same


def _summary(ends: list[End]) -> str:
    """Say how often a training was killed, and how soon its other processes ended."""
    kills = sum(end.killed for end in ends)
    seconds = max((end.seconds for end in ends if not end.terminated), default=0.0)
    terminated = sum(end.terminated for end in ends)
    return (
        f"killed {kills} times, others ended in {seconds:.2f} s or on SIGTERM ({terminated} times)"
    )


def undisturbed(job: Job, run: Path) -> dict[str, Any]:
    """Return the outcome of a run that is not killed."""
    train_in_children(job, run, _spare)
    return outcome(run, job.settings["steps"])


def prepare_data(folder: Path) -> Path:
    """Pack 40 images of noise, and import slow modules once, instead of in every child."""
    import matplotlib.pyplot  # noqa: F401
    import torch._dynamo  # noqa: F401 -- creating an optimizer imports it

    images = folder / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{i}.png")
    pack(open_source(str(images)), folder / "packed", 32)
    return folder / "packed"


def outcome(run: Path, step: int) -> dict[str, Any]:
    """Return every tensor of a checkpoint, which must be undamaged, and the recorded steps."""
    folder = checkpoint.folder_of(run, step)
    checkpoint.verify_checkpoint(folder)
    steps = [record["step"] for record in read_records(run)]
    return {"steps recorded": steps} | {
        f"{file}/{name}": tensor
        for file in ("generator", "discriminator", "ema", "optimizer")
        for name, tensor in checkpoint.read_checkpoint(folder, file).items()
    }


def is_identical(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two outcomes are the same, bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


# ---------------------------------------------------------------------------------------------
# Processes


def train_in_children(job: Job, run: Path, kill: Kill) -> End:
    """Train in forked processes that `kill` may end.

    This process imports torch but never computes with it, which makes forking safe and restarts
    quick.

    Raises:
        RuntimeError: a process did not end as expected: killed, done, or with a one-line error
            after another one was killed; or it did not end in time.
    """
    port = _free_port()
    children = [fork(partial(_train, job, run, rank, port)) for rank in range(job.processes)]
    kill(children)
    statuses, seconds, terminated = _wait_for_all(children)
    sent = {STOPPED, -signal.SIGKILL, -signal.SIGTERM}  # the last before its handler is set
    killed = not sent.isdisjoint(statuses)
    allowed = {DONE, *sent, *([REFUSED] if killed and job.processes > 1 else [])}
    if not allowed.issuperset(statuses):
        raise RuntimeError(f"the training ended by itself: {statuses}")
    return End(killed, seconds, terminated)


def fork(work: Callable[[], None]) -> int:
    """Do some work in a child process, and return its id; its exit status says how it ended."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = FAILED
    try:
        work()
        status = DONE
    except SaganError:
        status = REFUSED
    except Interrupted:
        status = STOPPED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _train(job: Job, run: Path, rank: int, port: int) -> None:
    if job.processes > 1:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(job.processes),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        }  # fmt: skip
    train_job(job, run)


def train_job(job: Job, run: Path) -> None:
    """Train in this process, together with the others that the environment names."""
    torch.set_num_threads(1)
    session = prepare_session(str(job.data), run, "smoke", job.settings, lambda line: None)
    train(session, Silent())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_all(children: list[int]) -> tuple[list[int], float, bool]:
    """Return exit statuses, seconds from first to last end, and whether SIGTERM was necessary.

    Raises:
        RuntimeError: they did not end on SIGTERM.
    """
    _wait(lambda: any(map(_is_over, children)))
    # Seconds are counted instead of measured, because the machine may be suspended meanwhile.
    seconds, terminated = 0.0, False
    while not all(map(_is_over, children)):
        time.sleep(0.01)
        seconds += 0.01
        if seconds > TIMEOUT and not terminated:
            _send(children, signal.SIGTERM)
            terminated = True
        if seconds > 2 * TIMEOUT:
            _send(children, signal.SIGKILL)
            raise RuntimeError(f"some of the processes {children} did not end after the others")
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return statuses, seconds, terminated


def _send(children: list[int], number: int) -> None:
    for child in children:  # safe: one that has ended keeps its id until it is waited for
        os.kill(child, number)


def _is_over(process: int) -> bool:
    """Return whether a process has ended, without waiting for it, which would free its id."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


# ---------------------------------------------------------------------------------------------
# Times to kill at


def _spare(children: list[int]) -> None:
    """Kill none of the processes."""


def _killer(run: Path, rng: random.Random) -> Kill:
    """Return a kill after a random time, or one shortly after a checkpoint begins to be written."""
    all_of_them = rng.random() < 0.5
    victim = rng.random()
    number = signal.SIGTERM if rng.random() < 0.25 else signal.SIGKILL

    def kill_after(children: list[int], delay: float) -> None:
        time.sleep(delay)
        one = children[int(victim * len(children))]
        _send(children if all_of_them else [one], number)

    if rng.random() < 0.5:
        delay = rng.uniform(0, 1.5)
        return lambda children: kill_after(children, delay)
    skipped, delay = rng.randrange(4), rng.uniform(0, 0.02)

    def kill_while_writing(children: list[int]) -> None:
        for _ in range(skipped):
            _wait(lambda: _is_writing(run) or _is_over(children[0]))
            _wait(lambda: not _is_writing(run) or _is_over(children[0]))
        _wait(lambda: _is_writing(run) or _is_over(children[0]))
        kill_after(children, delay)

    return kill_while_writing


def _wait(until: Callable[[], bool]) -> None:
    while not until():
        time.sleep(0.0003)


def _is_writing(run: Path) -> bool:
    return any((run / "checkpoints").glob(".step-*.tmp"))


if __name__ == "__main__":
    sys.exit(main())
