"""`sagan study`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from sagan.cli.console import open_console, say, say_at_last
from sagan.cli.options import Device, Settings, SourceOption
from sagan.cli.signals import end_at_once
from sagan.errors import SaganError
from sagan.runtime.extras import report_missing_library
from sagan.studies.request import (
    ClusterName,
    ClusterRequest,
    PilotRequest,
    StudyRequest,
    parse_deltas,
)
from sagan.studies.server import start_server


def study(
    name: Annotated[
        Literal["attention", "parts", "spectral-norm", "discriminator"],
        typer.Argument(
            metavar="NAME",
            help="attention (does it improve samples?), parts (do parts of a face agree?), "
            "spectral-norm (does it keep training stable?) or discriminator (are its features "
            "good?).",
        ),
    ],
    data: SourceOption,
    out: Annotated[
        Path, typer.Option(help="Study folder. If it already holds a study, the study resumes.")
    ],
    preset: Annotated[str, typer.Option(help="Preset of all runs.")] = "classic-32",
    variants: Annotated[
        str | None,
        typer.Option(help="Variants to run, separated by commas; docs/studies.md lists them."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of runs of each variant; by default as many as planned, or 3."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of each run; by default the preset's.")
    ] = None,
    num: Annotated[
        int | None,
        typer.Option(
            min=100,
            help="Number of samples to measure of each run; by default as many as the images that "
            "it sees, up to 10,000.",
        ),
    ] = None,
    budget_minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Total time; sets --steps so that all runs fit.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of runs at a time, which share the cores; by default one for each core "
            "or GPU, as far as memory allows.",
        ),
    ] = None,
    cluster: Annotated[
        ClusterName | None,
        typer.Option(help="Submit runs as jobs: slurm, or local (processes) to try it out."),
    ] = None,
    cluster_set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="With --cluster: a setting of submitit, such as slurm_partition=cpu. Repeatable.",
        ),
    ] = None,
    settings: Settings = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Before the first run: do a pilot of short runs, and print and save how many "
            "seeds decide the study, and what they cost.",
        ),
    ] = False,
    delta: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIZE or NUMBER=SIZE",
            help="With --plan: smallest effect of interest, in the main number or another: a "
            "share of a distance (by default 0.05), a difference of accuracies (0.01) or of "
            "agreement (0.02).",
        ),
    ] = None,
    pilot_seeds: Annotated[
        int, typer.Option(min=2, help="With --plan: number of pilot runs of each variant.")
    ] = 4,
    pilot_steps: Annotated[
        int | None,
        typer.Option(min=1, help="With --plan: their steps; by default a tenth of --steps."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and their estimated cost, and stop.")
    ] = False,
    device: Device = None,
) -> None:
    """Test a claim of the SAGAN paper: training runs, intervals over seeds, a verdict, a report.

    Run the same command again to resume. A study with --plan decides first how
    many seeds it needs; to one without, more seeds or variants can be added later.

    Example: [bold]sagan study attention --data photos/ --out studies/attention --steps 3000[/]
    """
    from sagan.training.assignments import parse_assignments, parse_value, split_assignment

    end_at_once()  # the runs' own processes save by themselves
    if jobs != 1 and cluster is None:
        start_server()

    with report_missing_library():
        from sagan.studies.engine import run_study
    from sagan.training.loop import Interrupted

    if delta and not plan:
        raise SaganError("--delta is laid down by --plan: give both, or neither")
    names = [part.strip() for part in (variants or "").split(",") if part.strip()]
    overrides = parse_assignments(settings or [])
    if cluster_set and cluster is None:
        raise SaganError("--cluster-set describes the jobs of --cluster: give both, or neither")
    assigned = (split_assignment("--cluster-set", text) for text in cluster_set or [])
    cluster_settings = {key: parse_value(key, text) for key, text in assigned}
    jobs_at = ClusterRequest(cluster, cluster_settings) if cluster else None
    pilot = PilotRequest(parse_deltas(delta or []), pilot_seeds, pilot_steps) if plan else None
    try:
        request = StudyRequest(
            name, data, out, preset, overrides, names, seeds, steps, budget_minutes, jobs, num,
            pilot, jobs_at,
        )  # fmt: skip
        run_study(request, dry_run, open_console(), say, device)
    except (Interrupted, KeyboardInterrupt) as stopped:
        say_at_last("stopped; run the same command again to resume")
        sys.exit(128 + stopped.signal_number if isinstance(stopped, Interrupted) else 130)
