"""Kill a training again and again; what it ends with must be what an untouched one ends with.

    python scripts/chaos.py --trials 50
    python scripts/chaos.py --trials 50 --precision bfloat16

Each trial trains a small model in a child process, kills it with SIGKILL at random instants (half
of them while a checkpoint is being written), starts it again until it is through, and compares
every tensor of the final checkpoint with that of a run which nobody touched.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sagan import checkpoint
from sagan.data import pack
from sagan.training.loop import Reporter, train
from sagan.training.session import prepare

STEPS = 12
KILLS = 3  # in a trial
SETTINGS = {
    "channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 8, "steps": STEPS,
    "augment": "adaptive", "ema_half_life": 50, "checkpoint_every": 2, "sample_every": 1000,
    "log_every": 1,
}  # fmt: skip


class Silent(Reporter):
    """Tells nobody."""


def main() -> int:
    """Run the trials; exit status 1 if any run ended otherwise than the untouched one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        same = run_trials(Path(folder), arguments.trials, arguments.precision, arguments.seed)
    print(f"{same} of {arguments.trials} identical ({arguments.precision})")
    return 0 if same == arguments.trials else 1


def run_trials(folder: Path, trials: int, precision: str, seed: int) -> int:
    """How many of the trials ended with the bits of an untouched run."""
    instants = random.Random(seed)
    data = _make_data(folder)
    untouched = folder / "untouched"
    _train_in_child(data, untouched, precision, kill=lambda process: None)
    expected = _final_tensors(untouched)
    same = 0
    for trial in range(trials):
        run = folder / f"trial{trial}"
        kills = 0
        while not _is_finished(run):
            kill = _killer(run, instants) if kills < KILLS else lambda process: None
            kills += _train_in_child(data, run, precision, kill)
        found = _final_tensors(run)
        identical = found.keys() == expected.keys() and all(
            torch.equal(found[name], expected[name]) for name in expected
        )
        same += identical
        print(f"trial {trial}: killed {kills} times, {'same' if identical else 'OTHER'} bits")
    return same


def _make_data(folder: Path) -> Path:
    pictures = folder / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(0)
    for i in range(40):
        pixels = noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{i}.png")
    pack(str(pictures), folder / "packed", 32)
    return folder / "packed"


def _train_in_child(data: Path, run: Path, precision: str, kill: Callable[[int], None]) -> bool:
    """Train in a forked process that ``kill`` may end; return whether it did.

    This process imports torch but never computes with it, which makes forking safe and starting
    again quick.
    """
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            session = prepare(str(data), run, "smoke", SETTINGS | {"precision": precision}, _say)
            train(session.run, session.description, session.dataset, Silent())
            status = 0
        finally:
            os._exit(status)
    kill(process)
    _, status = os.waitpid(process, 0)
    if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the training failed by itself: status {status}")
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def _say(line: str) -> None:
    """Nothing."""


def _killer(run: Path, instants: random.Random) -> Callable[[int], None]:
    """Kill after a random time, or as soon as a checkpoint is being written and a little later."""
    if instants.random() < 0.5:
        delay = instants.uniform(0, 2.5)
        return lambda process: _kill_after(process, delay)
    skipped, delay = instants.randrange(4), instants.uniform(0, 0.02)

    def kill(process: int) -> None:
        for _ in range(skipped):
            _wait(lambda: _is_writing(run) or _is_over(process))
            _wait(lambda: not _is_writing(run) or _is_over(process))
        _wait(lambda: _is_writing(run) or _is_over(process))
        _kill_after(process, delay)

    return kill


def _wait(until: Callable[[], bool]) -> None:
    while not until():
        time.sleep(0.0003)


def _is_writing(run: Path) -> bool:
    return any((run / "checkpoints").glob(".step-*.tmp"))


def _is_over(process: int) -> bool:
    """Whether it ended by itself; it can still be waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_after(process: int, delay: float) -> None:
    time.sleep(delay)
    os.kill(process, signal.SIGKILL)


def _is_finished(run: Path) -> bool:
    return (run / "checkpoints" / f"step-{STEPS:08d}").is_dir()


def _final_tensors(run: Path) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / f"step-{STEPS:08d}"
    checkpoint.verify_checkpoint(folder)
    return {
        f"{file}/{name}": tensor
        for file in ("generator", "discriminator", "ema", "optimizer")
        for name, tensor in checkpoint.read_tensors(folder, file).items()
    }


if __name__ == "__main__":
    sys.exit(main())
