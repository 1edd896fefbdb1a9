"""On a signal the step in progress ends, the run is saved, and the exit status names the signal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.run import checkpoint, directory
from sagan.runtime.processes import Processes
from sagan.training import loop, state
from sagan.training.loop import Interrupted
from sagan.training.recorder import Reporter
from sagan.training.signals import CLOSED_OUTPUT, received_requests
from sagan.training.state import Training

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")


class SendAt(Reporter):
    """Sends this process a signal after a step."""

    def __init__(self, step: int, number: int) -> None:
        self.step = step
        self.number = number

    def advanced(self, step: int) -> None:
        if step == self.step:
            signal.raise_signal(self.number)


def steps_saved(run: Path) -> list[int]:
    return [checkpoint.step_of(folder) for folder in checkpoint.checkpoints(run)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_a_request_to_stop_the_step_ends_and_everything_is_saved(
    number: int, unlabeled: PackedDataset, train_run: Callable[..., Any], tmp_path: Path
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        train_run(tmp_path / "run", unlabeled, steps=9, reporter=SendAt(2, number))
    assert caught.value.signal_number == number
    assert steps_saved(tmp_path / "run") == [caught.value.step]
    assert caught.value.step in (2, 3)
    assert signal.getsignal(number) == before


def test_a_request_is_answered_soon_even_on_a_device_that_is_rarely_read(
    unlabeled: PackedDataset,
    train_run: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A launcher kills half a minute after its request; 100 steps may take longer."""
    monkeypatch.setattr(Training, "on_cpu", False)
    reporter = SendAt(2, signal.SIGTERM)
    with pytest.raises(Interrupted):
        train_run(tmp_path / "run", unlabeled, steps=9, log_every=100, reporter=reporter)
    assert steps_saved(tmp_path / "run") in ([2], [3])


class Exchanges(Processes):
    """Counts the exchanges of requests between two processes, one of them pretended."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = 2
        self.requests: list[int] = []

    def all_reduce_max(self, *values: int, what: str = "") -> list[int]:
        if len(values) > 1:
            self.requests.append(values[0])
        return list(values)


def test_several_processes_exchange_requests_every_few_steps_only(
    unlabeled: PackedDataset,
    train_run: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """First at each step, until the speed is known; the request waits for the next exchange."""
    processes = Exchanges(1)
    monkeypatch.setattr(state, "Processes", lambda number: processes)
    monkeypatch.setattr(loop, "EXCHANGE_SECONDS", 1e6)
    monkeypatch.setattr(loop, "EXCHANGE_STEPS", 4)
    with pytest.raises(Interrupted):
        train_run(tmp_path / "run", unlabeled, steps=20, reporter=SendAt(5, signal.SIGTERM))
    assert processes.requests == [0, 0, 0, signal.SIGTERM]  # after steps 1, 2, 3 and 7
    assert steps_saved(tmp_path / "run") == [7]


@pytest.mark.usefixtures("no_images")
def test_the_warning_signal_saves_and_training_continues(
    unlabeled: PackedDataset, train_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=5, reporter=SendAt(2, signal.SIGUSR1))
    assert steps_saved(run) == [3, 5]


@pytest.mark.usefixtures("no_images")
def test_checkpoints_are_also_saved_by_elapsed_minutes(
    unlabeled: PackedDataset, train_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=3, checkpoint_minutes=1e-9)
    assert steps_saved(run) == [1, 2, 3]


@pytest.mark.usefixtures("no_images")
def test_every_nth_step_and_marked_checkpoints_stay(
    unlabeled: PackedDataset, train_run: Callable[..., Any], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"checkpoint_every": 1, "keep_every": 4}
    run = train_run(tmp_path / "run", unlabeled, steps=3, **settings)
    (run / "checkpoints" / "step-00000002" / "keep").touch()
    train_run(run, unlabeled, steps=9, **settings)
    assert steps_saved(run) == [2, 4, 7, 8, 9]
    checkpoint.verify_checkpoint(run / "checkpoints" / "step-00000002")


def test_two_processes_cannot_train_in_one_folder_and_a_crash_leaves_no_lock(
    tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sagan.run import directory\n"
        "with directory.locked(Path(sys.argv[1])):\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    holder = start_python(["-c", code, tmp_path / "run"])
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(SaganError, match="another process"):
        directory.locked(tmp_path / "run").__enter__()
    holder.kill()
    holder.wait()
    with directory.locked(tmp_path / "run"):
        pass


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_status_of_the_command_names_the_signal(
    number: int,
    status: int,
    unlabeled: PackedDataset,
    tmp_path: Path,
    start_python: Callable[..., Any],
) -> None:
    run = tmp_path / "run"
    command = [
        "-m", "sagan", "train", "--data", str(unlabeled.path), "--out", str(run),
        "--preset", "smoke", "--steps", "100000", "--set", "channels_g=8", "--set", "channels_d=8",
        "--set", "sample_every=100000", "--set", "log_every=1",
    ]  # fmt: skip
    process = start_python(command)
    started = time.monotonic()
    while not (run / "stats.jsonl").is_file() or not (run / "stats.jsonl").stat().st_size:
        assert process.poll() is None
        assert time.monotonic() - started < 60
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status, err
    assert "saved" in out
    assert checkpoint.latest_checkpoint(run) is not None


@pytest.mark.usefixtures("fatal_hangup")
def test_a_closed_terminal_saves_first_and_the_status_names_the_signal(
    unlabeled: PackedDataset, train_run: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted) as caught:
        train_run(tmp_path / "run", unlabeled, steps=9, reporter=SendAt(2, signal.SIGHUP))
    assert caught.value.signal_number == signal.SIGHUP
    assert steps_saved(tmp_path / "run") == [caught.value.step]


IGNORED = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1] if os.name != "nt" else []


@pytest.mark.usefixtures("no_images")
@pytest.mark.parametrize("number", IGNORED)
def test_a_signal_that_is_ignored_as_under_nohup_does_nothing_to_a_training(
    number: int, unlabeled: PackedDataset, train_run: Callable[..., Any], tmp_path: Path
) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        run = train_run(tmp_path / "run", unlabeled, steps=3, reporter=SendAt(2, number))
    finally:
        signal.signal(number, before)
    assert steps_saved(run) == [3]


def test_a_request_to_stop_does_not_end_that_ctrl_c_is_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with received_requests() as requests:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
        assert requests.stop == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


class WriteNowhere(Reporter):
    """Reports to a reader that has gone."""

    def advanced(self, step: int) -> None:
        raise BrokenPipeError


def test_output_that_cannot_be_written_saves_first_and_ends_the_training(
    unlabeled: PackedDataset, train_run: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted) as caught:
        train_run(tmp_path / "run", unlabeled, steps=9, reporter=WriteNowhere())
    assert caught.value.signal_number == CLOSED_OUTPUT
    assert steps_saved(tmp_path / "run") == [caught.value.step]


def test_a_reader_of_the_output_that_ends_leaves_a_saved_run(
    unlabeled: PackedDataset, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "sagan", "train", "--data", str(unlabeled.path), "--out", str(run),
        "--preset", "smoke", "--steps", "100000", "--set", "channels_g=8", "--set", "channels_d=8",
        "--set", "sample_every=100000", "--set", "log_every=1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    while not process.stdout.readline().startswith("step 0"):
        assert process.poll() is None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 128 + CLOSED_OUTPUT
    assert err.splitlines()[-1].startswith("stopped at step ")
    assert "Traceback" not in err
    assert checkpoint.latest_checkpoint(run) is not None


CTRL_C_AT_IMPORT = """
import runpy, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            raise KeyboardInterrupt

module, entry = sys.argv[1:]
sys.argv[:] = ["sagan", "inspect", "openmoji-64"]
sys.meta_path.insert(0, Interrupting())
if entry == "module":
    runpy.run_module("sagan", run_name="__main__")
else:
    __import__("torch_sagan").main()
"""


@pytest.mark.parametrize("entry", ["module", "script"])
@pytest.mark.parametrize("module", ["sagan.cli", "typer", "sagan.model", "torch"])
def test_ctrl_c_while_modules_are_imported_is_silent(entry: str, module: str) -> None:
    command = [sys.executable, "-c", CTRL_C_AT_IMPORT, module, entry]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
