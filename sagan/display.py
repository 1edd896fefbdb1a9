"""The progress of training and other work: redrawn on a terminal, plain lines elsewhere."""

import time
from collections import deque
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from sagan.errors import printable

if TYPE_CHECKING:  # packing does not need torch
    from sagan.run.stats import Record
    from sagan.training.pace import Estimate
    from sagan.training.recorder import Reporter


def reporter_for(console: Console) -> "Reporter":
    """Return the live panel if the console can redraw lines, else plain lines."""
    return LiveReporter(console) if console.is_interactive else PlainReporter(console)


class _Clock:
    """Estimates the time left until the last step, from the latest 50 marks."""

    def __init__(self, step: int, steps: int) -> None:
        self.steps = steps
        self._marks = deque([(time.monotonic(), step)], maxlen=50)

    def left(self, step: int) -> str:
        """Return the time left at `step`, such as "1:02:03"; "-" while it is unknown."""
        if step < self._marks[-1][1]:  # other work has begun
            self._marks.clear()
        self._marks.append((time.monotonic(), step))
        (then, before), (now, _) = self._marks[0], self._marks[-1]
        if step == before:
            return "-"
        return duration((self.steps - step) * (now - then) / (step - before))


def duration(seconds: float) -> str:
    """Return seconds as "m:ss" or "h:mm:ss"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary(record: "Record") -> dict[str, str]:
    """Return the values of a record that are shown while training, by heading."""
    shown = {
        "images/s": f"{record['images_per_second']:.0f}",
        "loss D": f"{record['loss/d']:.2f}",
        "loss G": f"{record['loss/g']:+.2f}",
        "D(real)": f"{record['logits/real']:+.2f}",
        "D(fake)": f"{record['logits/fake']:+.2f}",
    }
    for name, value in record.items():
        if name.startswith("gamma/"):
            network, layer = name.removeprefix("gamma/").split(".")
            size = layer.removeprefix("attention_")
            shown[f"gamma {network[0].upper()}{size}"] = f"{value:+.3f}"
    for name, value in record.items():
        if name.startswith("metric/KD-") or name == "metric/coverage":
            shown[name.removeprefix("metric/")] = f"{value:.3g}"
    if record.get("dropped"):
        shown["dropped"] = f"{record['dropped']:.0f}"
    if record["augment/p"]:
        shown["augment"] = f"{record['augment/p']:.2f}"
    return shown


def estimate_line(estimate: "Estimate") -> str:
    """Return one line: steps, time, disk and memory of a training on this machine."""
    return (
        f"{estimate.steps:,} steps of {estimate.step_seconds:.3g} s: about "
        f"{rough_duration(estimate.seconds)} here, {estimate.disk / 1e6:,.0f} MB of disk, "
        f"{estimate.memory / 1e6:,.0f} MB of memory"
    )


def rough_duration(seconds: float) -> str:
    """Return seconds as people say it: "40 seconds", "58 minutes", "3.5 hours", "12 days"."""
    for unit, length, next_unit in (("second", 1, 100), ("minute", 60, 100), ("hour", 3600, 48)):
        if seconds < next_unit * length:
            value = seconds / length
            shown = f"{value:.0f}" if unit != "hour" else f"{value:.1f}".removesuffix(".0")
            return f"{shown} {unit}" if shown == "1" else f"{shown} {unit}s"
    return f"{seconds / 86_400:.0f} days"


class PlainReporter:
    """Prints one line per record."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def started(self, step: int, steps: int) -> None:
        self.clock = _Clock(step, steps)
        self._say(f"step {step} of {steps}: " + ("training" if step == 0 else "resuming"))

    def estimated(self, estimate: "Estimate") -> None:
        self.clock.steps = estimate.steps
        self._say(estimate_line(estimate))

    def advanced(self, step: int) -> None:
        """Print nothing: there are lines for records only."""

    def recorded(self, record: "Record") -> None:
        step = int(record["step"])
        values = "  ".join(f"{name} {value}" for name, value in summary(record).items())
        self._say(f"step {step}  left {self.clock.left(step)}  {values}")

    def closed(self) -> None:
        """Do nothing: plain lines stay."""

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)


class LiveReporter:
    """Redraws a progress bar above a table of the latest values."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Progress(
            TextColumn("[bold]step {task.completed:,.0f}[/] of {task.total:,.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[left]} left"),
            console=console,
        )
        self._task: TaskID | None = None
        self._live = Live(console=console, refresh_per_second=4)

    def started(self, step: int, steps: int) -> None:
        self.clock = _Clock(step, steps)
        self._task = self._bar.add_task("", total=steps, completed=step, left="-")
        self._live.start()
        self._live.update(self._bar)

    def estimated(self, estimate: "Estimate") -> None:
        self.clock.steps = estimate.steps
        if self._task is not None:
            self._bar.update(self._task, total=estimate.steps)
        self.console.print(estimate_line(estimate), highlight=False, markup=False)

    def advanced(self, step: int) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=step, left=self.clock.left(step))

    def recorded(self, record: "Record") -> None:
        values = [
            Text.assemble((name, "dim"), "\n", (value, "cyan"), justify="right")
            for name, value in summary(record).items()
        ]
        # On a narrow terminal, columns wrap.
        self._live.update(Group(self._bar, Columns(values, padding=(0, 2, 0, 0))))

    def closed(self) -> None:
        self._live.stop()


class PackingProgress(AbstractContextManager["PackingProgress"]):
    """A progress bar for images that are read, packed or drawn; it appears with the first of them.

    Args:
        console: where to draw; nothing is drawn unless it is a terminal.
        title: the work being done, such as "packing".
        after: seconds for which to draw nothing yet.
    """

    def __init__(self, console: Console, title: str, after: float = 0.0) -> None:
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            TextColumn("{task.fields[counts]}"),
            console=console,
            transient=True,
            disable=not console.is_interactive,
        )
        self._task: TaskID | None = None
        self._next = time.monotonic() + after if after else 0.0

    def __call__(self, done: int, total: int | None) -> None:
        # This is called up to ten thousand times per second: redraw ten times.
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.1
        if self._task is None:
            self._clock = _Clock(done, total or 0)
            self._task = self._bar.add_task("", total=total, counts="")
            self._bar.start()
        counts = f"{done:,} pictures"
        if total is not None:
            counts = f"{done:,} of {total:,} pictures, {self._clock.left(done)} left"
        self._bar.update(self._task, completed=done, counts=counts)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class StageProgress(AbstractContextManager["StageProgress"]):
    """A progress bar for work in stages, which shows one stage at a time.

    Args:
        console: where to draw; nothing is drawn unless it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),  # it may quote file names
            BarColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_interactive,
        )
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of a stage's `total` is done; a total of 1 means an unknown length."""
        if stage != self._stage:
            self._stage, self._clock = stage, _Clock(done, total)
            self._bar.start()
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(printable(stage), total=None if total == 1 else total, left="")
        left = "" if total == 1 else f"{done:,} of {total:,}, {self._clock.left(done)} left"
        self._bar.update(self._bar.task_ids[0], completed=done, left=left)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
