"""`sagan evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from sagan.cli.console import open_console, say, say_nothing, show
from sagan.cli.options import Device, SeedOption
from sagan.errors import SaganError
from sagan.runtime.extras import report_missing_library

SAMPLES = typer.Argument(
    metavar="MODEL_OR_IMAGES",
    help="Model, as for sagan sample; or images of any generator: a folder (subfolders are "
    "classes), a .zip of one, a packed data set.",
)


def evaluate(
    samples: Annotated[str | None, SAMPLES] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Real images to compare with, as for sagan train.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data to compare with.")] = "train",
    metrics: Annotated[
        str,
        typer.Option(
            help="Comma-separated list of fid, kid, is, precision, recall, density, coverage, "
            "intra-fid, class-accuracy, gan-train, near-copies, parts."
        ),
    ] = "fid,kid,precision,recall,density,coverage",
    features: Annotated[
        str,
        typer.Option(
            help="efficientnet-lite0, cifar-judge (both without a download), inception (for FID), "
            "dinov2, or avatar-parts (for parts)."
        ),
    ] = "efficientnet-lite0",
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of inception or dinov2.")
    ] = None,
    num: Annotated[
        int | None,
        typer.Option(
            min=2, help="Number of samples; by default 10,000, or all images if there are fewer."
        ),
    ] = None,
    seed: SeedOption = 0,
    truncation: Annotated[float, typer.Option(min=0.0, help="Scale of the latents.")] = 1.0,
    raw: Annotated[
        bool, typer.Option("--raw", help="Use G's latest weights instead of their average.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the numbers to this file."),
    ] = None,
    neighbors: Annotated[
        Path | None,
        typer.Option(
            "--neighbors",
            "--neighbours",
            metavar="FILE.png",
            help="Also draw samples next to their nearest training images.",
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Compare two evaluations instead."),
    ] = None,
    device: Device = None,
) -> None:
    """Measure how close samples are to real images; every number comes with its protocol.

    The samples are those of a model, or images that any generator made: a folder, a zip.

    FID needs --features inception and a download; with other features the distances have other
    names.

    Example: [bold]sagan evaluate runs/photos --data photos/ --json photos.json[/]
    """
    if compare is not None:
        if samples is not None or data is not None:
            raise SaganError("--compare takes two files: leave MODEL_OR_IMAGES and --data out")
        _compare(*compare)
        return
    if not (samples and data):
        raise SaganError("give MODEL_OR_IMAGES and --data, or --compare A.json B.json")
    with report_missing_library():
        from sagan.metrics.command import EvaluationRequest, evaluate_request
        from sagan.metrics.samples import SamplePlan
    from sagan.display import PackingProgress, StageProgress
    from sagan.metrics.text import evaluation_lines
    from sagan.runtime.processes import join_processes, report_lost_processes
    from sagan.storage.files import write_json

    main = join_processes(device).is_main_process
    plan = SamplePlan(num, seed, truncation, "raw" if raw else "ema")
    request = EvaluationRequest(
        samples, data, split, metrics, features, weights, plan, neighbors, json_file
    )
    console = open_console()
    with (
        report_lost_processes("see its message"),
        PackingProgress(console, "packing") as packing,
        StageProgress(console) as progress,
    ):
        document = evaluate_request(request, say if main else say_nothing, packing, progress)
    if main:
        # Written last, so that the numbers are seen even where they cannot be saved.
        show(evaluation_lines(document))
        if json_file is not None:
            write_json(json_file, document)


def _compare(first: Path, second: Path) -> None:
    from sagan.metrics.comparison import compare, open_conditions
    from sagan.metrics.text import comparison_lines

    show(comparison_lines(compare(first, second), open_conditions(first, second)))
