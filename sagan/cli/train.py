"""`sagan demo` and `sagan train`."""

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sagan.cli.console import open_console, say, say_nothing, show
from sagan.cli.options import Source
from sagan.errors import SaganError

if TYPE_CHECKING:
    from rich.console import Console

    from sagan.training.session import Session


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run and its pictures.")] = Path(
        "sagan-demo"
    ),
    minutes: Annotated[float, typer.Option(min=0.05, help="How long to train.")] = 3,
) -> None:
    """Train a small model on the built-in pictures, then show samples and the attention.

    Run it again to train on for as long.

    Example: [bold]sagan demo --minutes 3[/]
    """
    from sagan.demo import run_demo

    if not math.isfinite(minutes):
        raise SaganError(f"--minutes is a number of minutes, not {minutes}")
    run_demo(out, minutes, open_console(), _train)


def train(
    data: Source,
    out: Annotated[Path, typer.Option(help="The run directory; one that holds a run goes on.")],
    preset: Annotated[
        str | None, typer.Option(help="A recipe: see sagan presets. By default cpu-32.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Generator updates in all.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Pack the pictures, show what would be trained, and stop."),
    ] = False,
) -> None:
    """Train on any pictures. The same command again resumes; Ctrl-C saves and stops.

    Example: [bold]sagan train --data photos/ --out runs/photos --preset cpu-32 --steps 3000[/]
    """
    from sagan.config import parse_assignments

    overrides = parse_assignments(settings or [])
    if steps is not None:
        overrides["steps"] = steps

    from sagan.display import PackingProgress
    from sagan.runtime.processes import join_processes, report_lost_processes
    from sagan.training.session import RESUME, prepare

    processes = join_processes()
    notify = say if processes.is_main_process else say_nothing
    console = open_console()
    # The first process of a machine packs the data; the others find it in the cache.
    with (
        report_lost_processes(RESUME),
        processes.local_main_process_first(),
        PackingProgress(console, "packing") as progress,
    ):
        session = prepare(data, out, preset, overrides, notify, progress)
    if processes.is_main_process:
        _show_session(session, console)
    if not dry_run:
        _train(session, console)
        notify(f"done: {out}. Next: sagan sample {shlex.quote(str(out))} --out samples.png")


def _train(session: "Session", console: "Console", time_limit: float = float("inf")) -> None:
    from accelerate import PartialState

    from sagan.display import reporter_for
    from sagan.training.loop import Interrupted, train

    try:
        train(session, reporter_for(console), time_limit)
    except Interrupted as interrupted:
        if PartialState().is_main_process:
            say(f"stopped at step {interrupted.step}, saved; the same command goes on from there")
        sys.exit(128 + interrupted.signal_number)
    except KeyboardInterrupt:  # a second Ctrl-C, or one before the first step
        print("stopped at once; the last checkpoint is what it was", file=sys.stderr)
        sys.exit(130)


def _show_session(session: "Session", console: "Console") -> None:
    from sagan.summary import config_table, network_lines

    config, data = session.description.config, session.description.data
    console.print(config_table(config, session.description.preset))
    labels = f"{len(data['classes'])} classes" if data["classes"] else "no labels"
    say(f"data       {data['source']}: {data['images']:,} pictures, {labels}")
    show(network_lines(config, len(data["classes"])))
