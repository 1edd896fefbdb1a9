"""Kill a training again and again; what it ends with must be what an untouched one ends with.

    python scripts/chaos.py --trials 50
    python scripts/chaos.py --trials 50 --processes 2 --precision bfloat16

Each trial trains a small model in child processes, kills it with SIGKILL at random instants (half
of them while a checkpoint is being written) or, one time in four, asks it to stop with SIGTERM,
starts it again until it is through, and compares every tensor of the final checkpoint with that of
a run which nobody touched. Of several processes, either one is killed and the others must then end
by themselves and soon, or all are.
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

from sagan.data import pack
from sagan.errors import SaganError
from sagan.run import checkpoint
from sagan.run.stats import read_statistics
from sagan.training.loop import Interrupted, train
from sagan.training.recorder import Reporter
from sagan.training.session import prepare

STEPS = 12
KILLS = 3  # or requests to stop, in a trial
# Seconds after the end of one process until the others are told to end, as launchers do at once:
# one that died before all had met is waited for in vain. As many again, and it is a failure.
PATIENCE = 10
SETTINGS: dict[str, Any] = {
    "channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 8, "steps": STEPS,
    "augment": "adaptive", "ema_half_life": 50, "checkpoint_every": 2, "sample_every": 1000,
    "log_every": 1,
}  # fmt: skip
DONE, FAILED, REFUSED, STOPPED = 0, 1, 2, 128 + signal.SIGTERM

Kill = Callable[[list[int]], None]  # some of these processes


@dataclass(frozen=True)
class End:
    """How a training ended.

    Attributes:
        killed: whether any process was killed or asked to stop.
        seconds: from the first process's end to the last one's.
        told: whether the others had to be told to end.
    """

    killed: bool
    seconds: float
    told: bool


class Silent(Reporter):
    """Tells nobody."""


@dataclass(frozen=True)
class Job:
    """What is trained: the packed set, the settings, and by how many processes."""

    data: Path
    settings: dict[str, Any]
    processes: int = 1


def main() -> int:
    """Run the trials; exit status 1 if any run ended otherwise than the untouched one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = SETTINGS | {"precision": arguments.precision}
        job = Job(prepare_data(folder), settings, arguments.processes)
        same = run_trials(folder, job, arguments.trials, random.Random(arguments.seed))
    kind = f"{arguments.precision}, processes: {arguments.processes}, seed {arguments.seed}"
    print(f"{same} of {arguments.trials} identical ({kind})")
    return 0 if same == arguments.trials else 1


def run_trials(folder: Path, job: Job, trials: int, instants: random.Random) -> int:
    """How many of the trials ended with the bits of an untouched run."""
    expected = untouched(job, folder / "untouched")
    same = 0
    for trial in range(trials):
        run = folder / f"trial{trial}"
        ends: list[End] = []
        while not checkpoint.folder_of(run, STEPS).is_dir():
            kill = _killer(run, instants) if sum(end.killed for end in ends) < KILLS else _spare
            ends.append(train_in_children(job, run, kill))
        identical = is_identical(outcome(run, STEPS), expected)
        same += identical
        print(f"trial {trial}: {_told(ends)}: {'same' if identical else 'OTHER'} bits", flush=True)
    return same


def _told(ends: list[End]) -> str:
    """How often a training was killed, and how the processes that were not went on."""
    kills = sum(end.killed for end in ends)
    seconds = max((end.seconds for end in ends if not end.told), default=0.0)
    told = sum(end.told for end in ends)
    return f"killed {kills} times, others gone in {seconds:.2f} s or told ({told} times)"


def untouched(job: Job, run: Path) -> dict[str, Any]:
    """What a run that nobody touches ends with."""
    train_in_children(job, run, _spare)
    return outcome(run, job.settings["steps"])


def prepare_data(folder: Path) -> Path:
    """Pack 40 pictures of noise, and import what takes long: once, and not in every child."""
    import matplotlib.pyplot  # noqa: F401
    import torch._dynamo  # noqa: F401 -- which optimizers import when they are made

    pictures = folder / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(0)
    for i in range(40):
        pixels = noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{i}.png")
    pack(str(pictures), folder / "packed", 32)
    return folder / "packed"


def outcome(run: Path, step: int) -> dict[str, Any]:
    """Every tensor of a checkpoint, which must be sound, and the steps that have statistics."""
    folder = checkpoint.folder_of(run, step)
    checkpoint.verify_checkpoint(folder)
    steps = [record["step"] for record in read_statistics(run)]
    return {"steps recorded": steps} | {
        f"{file}/{name}": tensor
        for file in ("generator", "discriminator", "ema", "optimizer")
        for name, tensor in checkpoint.read_tensors(folder, file).items()
    }


def is_identical(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two outcomes are the same, bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


# ---------------------------------------------------------------------------------------------
# Processes


def train_in_children(job: Job, run: Path, kill: Kill) -> End:
    """Train in forked processes that `kill` may end.

    This process imports torch but never computes with it, which makes forking safe and starting
    again quick.

    Raises:
        RuntimeError: one ended otherwise than killed, done, or refusing in one line to go on
            without another; or outlasted it for too long.
    """
    port = _free_port()
    children = [fork(partial(_train, job, run, rank, port)) for rank in range(job.processes)]
    kill(children)
    statuses, seconds, told = _wait_for_all(children)
    sent = {STOPPED, -signal.SIGKILL, -signal.SIGTERM}  # the last before it can answer
    killed = not sent.isdisjoint(statuses)
    allowed = {DONE, *sent, *([REFUSED] if killed and job.processes > 1 else [])}
    if not allowed.issuperset(statuses):
        raise RuntimeError(f"the training ended by itself: {statuses}")
    return End(killed, seconds, told)


def fork(work: Callable[[], None]) -> int:
    """Do some work in a child process; its status says how it ended."""
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
    """Train in this process, or with the others that the environment tells of."""
    torch.set_num_threads(1)
    session = prepare(str(job.data), run, "smoke", job.settings, lambda line: None)
    train(session.run, session.description, session.dataset, Silent())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_all(children: list[int]) -> tuple[list[int], float, bool]:
    """The exit statuses, the seconds from the first end to the last, whether they had to be told.

    Raises:
        RuntimeError: they did not end when told.
    """
    _wait(lambda: any(map(_is_over, children)))
    seconds, told = 0.0, False  # counted, not measured: this machine may be suspended meanwhile
    while not all(map(_is_over, children)):
        time.sleep(0.01)
        seconds += 0.01
        if seconds > PATIENCE and not told:
            _send(children, signal.SIGTERM)
            told = True
        if seconds > 2 * PATIENCE:
            _send(children, signal.SIGKILL)
            raise RuntimeError(f"some of the processes {children} outlasted the others")
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return statuses, seconds, told


def _send(children: list[int], number: int) -> None:
    for child in children:  # one that ended is still there until it is waited for
        os.kill(child, number)


def _is_over(process: int) -> bool:
    """Whether it ended; it can still be waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


# ---------------------------------------------------------------------------------------------
# Instants


def _spare(children: list[int]) -> None:
    """Kill nobody."""


def _killer(run: Path, instants: random.Random) -> Kill:
    """Strike after a random time, or as soon as a checkpoint is written and a little later."""
    all_of_them = instants.random() < 0.5
    victim = instants.random()
    number = signal.SIGTERM if instants.random() < 0.25 else signal.SIGKILL

    def kill_after(children: list[int], delay: float) -> None:
        time.sleep(delay)
        one = children[int(victim * len(children))]
        _send(children if all_of_them else [one], number)

    if instants.random() < 0.5:
        delay = instants.uniform(0, 2.5)
        return lambda children: kill_after(children, delay)
    skipped, delay = instants.randrange(4), instants.uniform(0, 0.02)

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
