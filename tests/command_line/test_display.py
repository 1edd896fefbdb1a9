"""Progress on a terminal and in a log."""

import io
import re
import time

import pytest
from rich.console import Console

from sagan.cli.console import open_console
from sagan.display import (
    LiveReporter,
    PackingProgress,
    PlainReporter,
    StageProgress,
    _Clock,
    duration,
    reporter_for,
    rough_duration,
)
from sagan.training.pace import Estimate

RECORD = {
    "step": 7,
    "images_per_second": 123.4,
    "loss/d": 1.25,
    "loss/g": -0.5,
    "logits/real": 0.75,
    "logits/fake": -1.0,
    "augment/p": 0.0,
    "gamma/generator.attention_16": 0.125,
    "gamma/discriminator.attention_16": -0.25,
    "sigma/generator/linear": 3.0,
    "metric/KD-EfficientNet": 0.00123,
    "metric/coverage": 0.5,
}
SHOWN = ["123", "1.25", "-0.50", "+0.75", "-1.00", "gamma G16", "+0.125", "gamma D16", "-0.250"]


def console(terminal: bool, width: int = 160) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width)


def text(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_a_duration_reads_like_a_clock(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize("in_notebook", [True, False])
def test_a_notebook_which_cannot_redraw_lines_gets_plain_ones(
    in_notebook: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    if in_notebook:
        monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert isinstance(reporter_for(open_console()), PlainReporter) == in_notebook


def test_off_a_terminal_each_record_is_one_plain_line() -> None:
    shown = console(terminal=False)
    reporter = reporter_for(shown)
    assert isinstance(reporter, PlainReporter)
    reporter.started(0, 10)
    reporter.advanced(7)
    reporter.recorded(RECORD)
    reporter.closed()
    first, second = text(shown).splitlines()
    assert first == "step 0 of 10: training"
    assert "\x1b" not in second
    for value in ["step 7", *SHOWN]:
        assert value in second
    assert "linear" not in second


@pytest.mark.parametrize("width", [80, 160])
def test_on_a_terminal_the_latest_values_are_redrawn_in_place(width: int) -> None:
    shown = console(True, width)
    reporter = reporter_for(shown)
    assert isinstance(reporter, LiveReporter)
    reporter.started(0, 10)
    reporter.advanced(7)
    reporter.recorded(RECORD)
    reporter.closed()
    output = re.sub(r"\x1b\[[0-9;]*m", "", text(shown))
    for value in ["step 7", "of 10", *SHOWN, "images/s", "D(fake)", "KD-EfficientNet", "0.00123"]:
        assert value in output
    assert "…" not in output


def test_a_terminal_that_cannot_redraw_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(reporter_for(console(terminal=True)), PlainReporter)


@pytest.mark.parametrize("terminal", [True, False])
def test_an_estimate_says_what_a_training_takes_and_moves_its_end(terminal: bool) -> None:
    shown = console(terminal)
    reporter = reporter_for(shown)
    reporter.started(0, 10)
    reporter.estimated(Estimate(4100, 0.583, 3490, 100_000_000, 700_000_000))
    reporter.advanced(7)
    reporter.closed()
    output = re.sub(r"\x1b\[[0-9;]*m", "", text(shown))
    line = "4,100 steps of 0.583 s: about 58 minutes here, 100 MB of disk, 700 MB of memory"
    assert line in output
    assert ("of 4,100" in output) == terminal


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1, "1 second"), (40.2, "40 seconds"), (99, "99 seconds"), (100, "2 minutes"),
        (58 * 60, "58 minutes"), (6000, "1.7 hours"), (7200, "2 hours"), (86_400 * 12, "12 days"),
    ],
)  # fmt: skip
def test_long_times_are_said_roughly(seconds: float, expected: str) -> None:
    assert rough_duration(seconds) == expected


@pytest.mark.parametrize("terminal", [True, False])
def test_packing_nothing_shows_nothing(terminal: bool) -> None:
    shown = console(terminal)
    with PackingProgress(shown, "packing"):
        pass
    assert text(shown) == ""


def test_markup_and_control_codes_in_a_name_have_no_effect() -> None:
    shown = console(terminal=True)
    with StageProgress(shown) as progress:
        progress("features of a[/old]\x1b]0;b", 5, 10)
        time.sleep(0.2)
    assert "features of a[/old]\ufffd]0;b" in text(shown)


@pytest.mark.parametrize(
    ("total", "expected"), [(1000, "500 of 1,000 pictures, 0:0"), (None, "500 pictures")]
)
def test_packing_shows_its_progress_and_the_time_left(total: int | None, expected: str) -> None:
    shown = console(terminal=True)
    with PackingProgress(shown, "packing") as progress:
        for done in (1, 500):
            time.sleep(0.11)  # it is drawn ten times a second at most
            progress(done, total)
    assert "packing" in text(shown)
    assert expected in text(shown)


def test_the_time_left_of_work_that_begins_anew_is_not_negative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter([0.0, 10.0, 11.0, 12.0])
    monkeypatch.setattr("sagan.display.time.monotonic", lambda: next(now))
    clock = _Clock(0, 100)
    assert clock.left(50) == "0:10"
    assert clock.left(1) == "-"
    assert clock.left(2) == "1:38"
