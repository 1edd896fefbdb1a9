"""`sagan demo` and `sagan train`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sagan.cli.console import open_console, say, say_at_last, say_nothing, show
from sagan.cli.options import Device, Settings, SourceOption

if TYPE_CHECKING:
    from rich.console import Console

    from sagan.training.session import Session


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run and its images.")] = Path(
        "sagan-demo"
    ),
    minutes: Annotated[float, typer.Option(min=0.05, help="Training time in minutes.")] = 3,
    device: Device = None,
) -> None:
    """Train a small model on the built-in images, then draw samples and an attention figure.

    Run it again to train for as long again.

    Example: [bold]sagan demo --minutes 3[/]
    """
    from sagan.demo import run_demo

    run_demo(out, minutes, open_console(), _train, device)


def train(
    data: SourceOption,
    out: Annotated[
        Path, typer.Option(help="Run directory. If it already holds a run, training resumes.")
    ],
    preset: Annotated[
        str | None, typer.Option(help="Preset (see sagan presets); cpu-32 by default.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Total number of generator updates.")] = None,
    settings: Settings = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Pack the images, show what would be trained, and stop."),
    ] = False,
    device: Device = None,
) -> None:
    """Train on your images. Ctrl-C saves and stops; run the same command again to resume.

    Example: [bold]sagan train --data photos/ --out runs/photos --preset cpu-32 --steps 3000[/]
    """
    from sagan.config import parse_assignments

    overrides = parse_assignments(settings or [])
    if steps is not None:
        overrides["steps"] = steps

    from sagan.display import PackingProgress
    from sagan.runtime.processes import join_processes, report_lost_processes
    from sagan.runtime.shell import quoted
    from sagan.training.session import RESUME, prepare_session

    processes = join_processes(device)
    notify = say if processes.is_main_process else say_nothing
    console = open_console()
    # The first process of a machine packs the data; the others find it in the cache.
    with (
        report_lost_processes(RESUME),
        processes.local_main_process_first(),
        PackingProgress(console, "packing") as progress,
    ):
        session = prepare_session(data, out, preset, overrides, notify, progress)
    if processes.is_main_process:
        _show_session(session, console)
    if not dry_run:
        _train(session, console)
        notify(f"done: {out}. Next: sagan sample {quoted(out)} --out samples.png")


def _train(session: "Session", console: "Console", time_limit: float = float("inf")) -> None:
    from sagan.display import reporter_for
    from sagan.runtime.processes import join_processes
    from sagan.training.loop import Interrupted, train

    try:
        train(session, reporter_for(console), time_limit)
    except Interrupted as stopped:
        if join_processes().is_main_process:
            say_at_last(
                f"stopped at step {stopped.step} and saved; run the same command again to resume"
            )
        sys.exit(128 + stopped.signal_number)
    except KeyboardInterrupt:  # a second Ctrl-C, or one before the first step
        print("stopped without saving; the last checkpoint is unchanged", file=sys.stderr)
        sys.exit(130)


def _show_session(session: "Session", console: "Console") -> None:
    from sagan.summary import config_table, description_lines

    console.print(config_table(session.description.config, session.description.preset))
    show(description_lines(session.description))
