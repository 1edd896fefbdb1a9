"""`sagan demo` and `sagan train`."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sagan.cli.console import open_console, say, say_at_last, say_nothing, show
from sagan.cli.options import Device, Settings, SourceOption, StartOption
from sagan.errors import SaganError

if TYPE_CHECKING:
    from accelerate import PartialState
    from rich.console import Console

    from sagan.training.session import Session
    from sagan.types import Notify


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run and its images.")] = Path(
        "sagan-demo"
    ),
    minutes: Annotated[float, typer.Option(min=0.05, help="Training time in minutes.")] = 3,
    start: StartOption = None,
    device: Device = None,
) -> None:
    """Show what a trained model draws, then train a small one on built-in drawings of faces.

    Run it again to train for as long again.

    Example: [bold]sagan demo --minutes 3[/]
    """
    from sagan.demo import run_demo

    run_demo(out, minutes, open_console(), _train, device, start)


def train(
    data: SourceOption,
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory. If it already holds a run, training resumes."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Preset (see sagan presets); by default one that suits the size and time limit, "
            "or the recipe of the model to start from."
        ),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Settings from a .yaml or .json file, in place of a preset; a run's config.json "
            "gives an equal run.",
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Trackers to record in besides TensorBoard: wandb, mlflow, trackio, aim.",
        ),
    ] = None,
    start: StartOption = None,
    steps: Annotated[int | None, typer.Option(help="Total number of generator updates.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.05, help="Time limit: choose steps and preset for this machine."),
    ] = None,
    hours: Annotated[float | None, typer.Option(min=0.001, help="The same in hours.")] = None,
    settings: Settings = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Pack the images, show what would be trained and how long it takes, and stop.",
        ),
    ] = False,
    scale_batch: Annotated[
        bool,
        typer.Option(
            "--scale-batch",
            help="Under a launcher: a batch for each process, and learning rates that follow.",
        ),
    ] = False,
    device: Device = None,
) -> None:
    """Train on your images. Ctrl-C saves and stops; run the same command again to resume.

    Example: [bold]sagan train --data photos/ --out runs/photos --preset cpu-32 --minutes 60[/]
    """
    overrides = _overrides(settings or [], steps, minutes, hours)
    if not out and not dry_run:
        raise SaganError("give a run directory with --out")
    if config_file is not None and preset is not None:
        raise SaganError("give --preset or --config: a file may name its preset")

    from sagan.display import PackingProgress
    from sagan.run.run import Run
    from sagan.runtime.processes import (
        join_processes,
        local_main_process_first,
        report_lost_processes,
    )
    from sagan.runtime.shell import quoted
    from sagan.training.agreement import check_shared
    from sagan.training.batch_scaling import scale_session, unscaled_request
    from sagan.training.config_file import read_config_file
    from sagan.training.loop import check_steps
    from sagan.training.session import RESUME, prepare_session
    from sagan.training.time_plan import make_plan
    from sagan.training.trackers import parse_trackers

    trackers = parse_trackers(track) if track is not None else ()
    recipe = read_config_file(config_file) if config_file is not None else None
    processes = join_processes(device)
    notify = say if processes.is_main_process else say_nothing
    console = open_console()
    with report_lost_processes(RESUME), _run_directory(out) as run:
        if not dry_run:
            check_shared(run)  # before hours of packing
        if scale_batch:
            overrides, recipe = unscaled_request(Run(run), overrides, recipe)
        # The first process of a machine packs the data; the others find it in the cache.
        with local_main_process_first(), PackingProgress(console, "packing") as progress:
            session = prepare_session(data, run, preset, overrides, notify, progress, start, recipe)
        if scale_batch:
            session = scale_session(session, processes.num_processes, notify)
        session = make_plan(replace(session, trackers=trackers), notify)
        if dry_run and processes.is_main_process:
            check_steps(session)
        if processes.is_main_process:
            _show_session(session, console, in_full=dry_run)
            if dry_run or processes.device.type != "cpu":
                _show_memory(session, processes)
        if dry_run:
            _show_estimate(session, notify)
    if not dry_run:
        _train(session, console)
        notify(f"done: {run}. Next: sagan sample {quoted(run)} --out samples.png")


def _overrides(
    settings: list[str], steps: int | None, minutes: float | None, hours: float | None
) -> dict[str, Any]:
    """Return the settings that replace a preset's."""
    from sagan.training.assignments import parse_assignments
    from sagan.training.config_file import STEPS_AND_LIMIT

    overrides = parse_assignments(settings)
    limit = (minutes or 0.0) + 60 * (hours or 0.0)
    if steps is not None:
        overrides["steps"] = steps
    if limit:
        overrides["minutes"] = limit
    if overrides.get("minutes") and "steps" in overrides:
        raise SaganError(STEPS_AND_LIMIT)
    return overrides


@contextmanager
def _run_directory(out: Path | None) -> Iterator[Path]:
    """Yield the run directory; for a dry run without one, the name of a new one."""
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "run"


def _train(session: "Session", console: "Console") -> None:
    from sagan.display import reporter_for
    from sagan.runtime.processes import join_processes
    from sagan.training.loop import Interrupted, train

    try:
        train(session, reporter_for(console))
    except Interrupted as stopped:
        if join_processes().is_main_process:
            say_at_last(
                f"stopped at step {stopped.step} and saved; run the same command again to resume"
            )
        sys.exit(128 + stopped.signal_number)
    except KeyboardInterrupt:  # a second Ctrl-C, or one before the first step
        print("stopped without saving; the last checkpoint is unchanged", file=sys.stderr)
        sys.exit(130)


def _show_estimate(session: "Session", notify: "Notify") -> None:
    """Print what the training would take; every process calls this."""
    from sagan.display import estimate_line
    from sagan.run.checkpoint import step_of
    from sagan.training.time_plan import estimate_training

    newest = session.run.newest_checkpoint
    done = step_of(newest) if newest is not None else 0
    notify(estimate_line(estimate_training(session.description, session.dataset, done)))


def _show_memory(session: "Session", processes: "PartialState") -> None:
    """Print what a step takes at least, before a GPU runs out of it."""
    import torch

    from sagan.nn.precision import resolve_precision
    from sagan.training.memory_estimate import least_step_bytes, settings_for_less_memory

    description, device = session.description, processes.device
    precision = resolve_precision(description.config.precision, device)
    least = least_step_bytes(
        description.config,
        len(description.classes),
        processes.num_processes,
        precision,
        fused=device.type != "cpu",
    )
    line = f"memory       at least {least / 2**30:.2g} GiB for a step, computed"
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        line += f"; the GPU has {total / 2**30:.2g}"
        if least > total:
            line += f": give {settings_for_less_memory(description.config)}"
    say(line)


def _show_session(session: "Session", console: "Console", in_full: bool) -> None:
    from sagan.summary import config_table, training_lines

    if in_full:
        console.print(config_table(session.description.config, session.description.preset))
    show(training_lines(session.description))
