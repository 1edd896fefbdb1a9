"""`sagan evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from sagan.cli.console import open_console, say, say_nothing, show
from sagan.cli.options import _MODEL, Seed
from sagan.errors import SaganError
from sagan.runtime.extras import report_missing_library


def evaluate(
    model: Annotated[str | None, _MODEL] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Real pictures to compare with, as for sagan train.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of the data is the reference.")] = "train",
    metrics: Annotated[
        str,
        typer.Option(
            help="Any of fid, kid, is, precision, recall, density, coverage, intra-fid, "
            "class-accuracy, near-copies, separated by commas."
        ),
    ] = "fid,kid,precision,recall,density,coverage",
    features: Annotated[
        str,
        typer.Option(help="efficientnet-lite0 (needs no download), inception (for FID) or dinov2."),
    ] = "efficientnet-lite0",
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of inception or dinov2.")
    ] = None,
    num: Annotated[int, typer.Option(min=2, help="How many samples.")] = 10_000,
    seed: Seed = 0,
    truncation: Annotated[float, typer.Option(min=0.0, help="Scales the latents.")] = 1.0,
    raw: Annotated[
        bool, typer.Option("--raw", help="The latest weights of G, not their average.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the numbers here.")
    ] = None,
    neighbors: Annotated[
        Path | None,
        typer.Option(
            "--neighbors",
            "--neighbours",
            metavar="FILE.png",
            help="Also draw samples beside their nearest training pictures.",
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Rank two evaluations instead."),
    ] = None,
) -> None:
    """Measure how near samples are to real pictures; numbers come with their protocol.

    FID itself needs --features inception, and a download; other features give other names.

    Example: [bold]sagan evaluate runs/photos --data photos/ --json photos.json[/]
    """
    if compare is not None:
        if model is not None or data is not None:
            raise SaganError("--compare looks at two files: leave MODEL and --data out")
        from sagan.metrics.comparison import compare as ranked
        from sagan.metrics.text import comparison_lines

        show(comparison_lines(ranked(*compare)))
        return
    if model is None or data is None:
        raise SaganError("give a MODEL and --data, or --compare A.json B.json")
    with report_missing_library():
        from sagan.metrics.command import EvaluationRequest, evaluate_request
        from sagan.metrics.plan import SamplePlan
    from sagan.display import PackingProgress, StageProgress
    from sagan.metrics.text import evaluation_lines
    from sagan.runtime.processes import join_processes, report_lost_processes
    from sagan.storage.files import write_json

    main = join_processes().is_main_process
    plan = SamplePlan(num, seed, truncation, "raw" if raw else "ema")
    request = EvaluationRequest(
        model, data, split, metrics, features, weights, plan, neighbors, json_file
    )
    console = open_console()
    with (
        report_lost_processes("see what that one says"),
        PackingProgress(console, "packing") as packing,
        StageProgress(console) as progress,
    ):
        document = evaluate_request(request, say if main else say_nothing, packing, progress)
    if main:
        show(evaluation_lines(document))
        if json_file is not None:  # last: what was computed is to be seen where it cannot be kept
            write_json(json_file, document)
