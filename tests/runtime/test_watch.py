"""Nothing waits in silence, and a process that no longer answers ends the others in one line."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagan.errors import SaganError
from sagan.runtime import watch
from sagan.runtime.watch import patience, waiting_for

# Run by each process: it says that all have met, and computes until it is asked to end.
SCRIPT = """
import sys, time
from pathlib import Path
from sagan.runtime import watch
watch.BEAT = 0.1
from sagan.runtime.processes import gather_objects, join_processes, report_lost_processes
state = join_processes("cpu")
watch.FIRST_NOTICE, watch.Watch.current._limit = 0.5, 2.0  # not while they start
folder = Path(sys.argv[1])
with report_lost_processes("start it again"):
    (folder / f"met{state.process_index}").touch()
    while not (folder / "end").exists():
        time.sleep(0.02)
    if state.process_index == 0:
        time.sleep(1)  # the other waits
    print(gather_objects(state.process_index))
"""

needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows has no SIGSTOP")


def wait_for(*files: Path) -> None:
    until = time.monotonic() + 60
    while not all(file.exists() for file in files):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def pair(start_processes: Callable[..., Any], tmp_path: Path) -> list[Any]:
    """Two processes that have met."""
    command = ["-c", SCRIPT, str(tmp_path)]
    processes: list[Any] = start_processes(
        [command, command], SAGAN_PATIENCE="50", TORCH_CPP_LOG_LEVEL="ERROR"
    )
    wait_for(tmp_path / "met0", tmp_path / "met1")
    return processes


@needs_signals
def test_a_process_that_no_longer_answers_ends_the_others_within_the_patience(
    pair: list[Any], end_of: Callable[..., Any]
) -> None:
    """Also while these compute, and exchange nothing."""
    pair[1].send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    found = end_of(pair[0])
    assert 1 < time.monotonic() - begun < 15
    assert found.status == 2
    *notices, error = found.errors
    assert any("does not answer (waiting for at most 2 s), for" in line for line in notices)
    assert "did not answer for 2 s (SAGAN_PATIENCE), so this process ends too: start it again" in (
        error
    )


def test_a_process_that_is_killed_ends_the_others_though_they_do_not_wait_for_it(
    pair: list[Any], end_of: Callable[..., Any]
) -> None:
    pair[1].kill()
    found = end_of(pair[0])
    assert found.status == 2
    assert len(found.errors) == 1
    assert "ended or cannot be reached, so this process ends too: start it again" in found.err


def test_processes_that_wait_say_for_what_and_end_when_all_is_done(
    pair: list[Any], end_of: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "end").touch()
    ends = [end_of(process) for process in pair]
    assert [end.status for end in ends] == [0, 0], ends
    assert [end.out.strip() for end in ends] == ["[0, 1]", "[0, 1]"]
    assert "waiting for the other processes to get as far as this one, for" in ends[1].err
    assert ends[0].err == ""


def test_a_wait_before_the_processes_have_met_is_printed_ever_less_often(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "FIRST_NOTICE", 0.1)
    monkeypatch.setattr(watch, "BEAT", 0.02)
    with waiting_for("the others"):
        time.sleep(0.6)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 3  # after 0.1, 0.2 and 0.4 s; later on a busy machine
    assert all(line.startswith("sagan: waiting for the others, for ") for line in lines)
    with waiting_for("no time"):
        pass
    assert capsys.readouterr().err == ""


def test_the_patience_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGAN_PATIENCE", raising=False)
    assert patience().total_seconds() == 300
    monkeypatch.setenv("SAGAN_PATIENCE", "45")
    assert patience().total_seconds() == 45
    for text in ("soon", "0", "nan", "-1"):
        monkeypatch.setenv("SAGAN_PATIENCE", text)
        with pytest.raises(SaganError, match="not a number of seconds"):
            patience()


def test_a_process_whose_others_never_start_ends_in_one_line(
    start_processes: Callable[..., Any], end_of: Callable[..., Any], tmp_path: Path
) -> None:
    command = ["-m", "sagan", "train", "--data", "openmoji", "--out", str(tmp_path / "run")]
    (process,) = start_processes([command], WORLD_SIZE="2", SAGAN_PATIENCE="1")
    found = end_of(process)
    assert found.status == 2
    assert len(found.errors) == len(found.err.splitlines()) == 1
    assert "the processes did not meet at '127.0.0.1:" in found.err
    assert not (tmp_path / "run").exists()
