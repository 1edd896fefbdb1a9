"""`sagan study`."""

import math
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from sagan.cli.console import open_console, say
from sagan.cli.options import Source
from sagan.errors import SaganError
from sagan.runtime.extras import report_missing_library


def study(
    name: Annotated[
        Literal["attention", "spectral-norm", "discriminator"],
        typer.Argument(
            metavar="NAME",
            help="attention (does it draw better?), spectral-norm (does training hold?) "
            "or discriminator (are its features good?).",
        ),
    ],
    data: Source,
    out: Annotated[Path, typer.Option(help="The study's folder; one that holds a study goes on.")],
    preset: Annotated[str, typer.Option(help="The recipe of all runs.")] = "cpu-32",
    variants: Annotated[
        str | None, typer.Option(help="Which, separated by commas: see docs/studies.md.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant.")] = 3,
    steps: Annotated[int | None, typer.Option(help="Of each run; by default the preset's.")] = None,
    budget_minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Choose the steps so that all runs fit in.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each with its cores.")] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of all runs."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and what they would cost, and stop.")
    ] = False,
) -> None:
    """Put a claim about SAGAN to the test: runs, intervals over seeds, a verdict, a report.

    The same command again goes on; more seeds or variants may be added to a study that ended.

    Example: [bold]sagan study attention --data photos/ --out studies/attention --steps 3000[/]
    """
    from sagan.config import parse_assignments

    if budget_minutes is not None and not math.isfinite(budget_minutes):
        raise SaganError(f"--budget-minutes is a number of minutes, not {budget_minutes}")
    if steps is not None and budget_minutes is not None:
        raise SaganError("--steps and --budget-minutes both say how long runs are: give one")
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
        run_study(request, dry_run, open_console(), say)
    except (Interrupted, KeyboardInterrupt) as ended:
        say("stopped; the same command goes on from there")
        sys.exit(128 + ended.signal_number if isinstance(ended, Interrupted) else 130)
