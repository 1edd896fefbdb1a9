"""`sagan study`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from sagan.cli.console import open_console, say, say_at_last
from sagan.cli.options import Device, Settings, SourceOption
from sagan.cli.signals import end_at_once
from sagan.runtime.extras import report_missing_library


def study(
    name: Annotated[
        Literal["attention", "spectral-norm", "discriminator"],
        typer.Argument(
            metavar="NAME",
            help="attention (does it improve samples?), spectral-norm (does it keep training "
            "stable?) or discriminator (are its features good?).",
        ),
    ],
    data: SourceOption,
    out: Annotated[
        Path, typer.Option(help="Study folder. If it already holds a study, the study resumes.")
    ],
    preset: Annotated[str, typer.Option(help="Preset of all runs.")] = "cpu-32",
    variants: Annotated[
        str | None,
        typer.Option(help="Variants to run, separated by commas; docs/studies.md lists them."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs of each variant.")] = 3,
    steps: Annotated[
        int | None, typer.Option(help="Steps of each run; by default the preset's.")
    ] = None,
    budget_minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Total time; sets --steps so that all runs fit.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Number of runs at a time; they share the cores.")
    ] = 1,
    settings: Settings = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and their estimated cost, and stop.")
    ] = False,
    device: Device = None,
) -> None:
    """Test a claim of the SAGAN paper: training runs, intervals over seeds, a verdict, a report.

    Run the same command again to resume. More seeds or variants can be added
    to a finished study.

    Example: [bold]sagan study attention --data photos/ --out studies/attention --steps 3000[/]
    """
    from sagan.config import parse_assignments

    end_at_once()  # the runs' own processes save by themselves

    with report_missing_library():
        from sagan.studies.engine import run_study
        from sagan.studies.plan import StudyRequest
    from sagan.training.loop import Interrupted

    names = [part.strip() for part in (variants or "").split(",") if part.strip()]
    overrides = parse_assignments(settings or [])
    request = StudyRequest(
        name, data, out, preset, overrides, names, seeds, steps, budget_minutes, jobs
    )
    try:
        run_study(request, dry_run, open_console(), say, device)
    except (Interrupted, KeyboardInterrupt) as stopped:
        say_at_last("stopped; run the same command again to resume")
        sys.exit(128 + stopped.signal_number if isinstance(stopped, Interrupted) else 130)
