"""`sagan sample`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sagan.cli.console import open_console, say
from sagan.cli.options import Classes, Device, ModelName, SeedOption


def sample(
    model: ModelName,
    out: Annotated[
        Path, typer.Option(help="FILE.png for a grid; FILE.zip or a folder for single images.")
    ],
    num: Annotated[int | None, typer.Option(min=1, help="Number of images; 64 by default.")] = None,
    classes: Classes = None,
    seed: SeedOption = 0,
    truncation: Annotated[
        float, typer.Option(min=0.0, help="Scale of the latents; below 1, samples vary less.")
    ] = 1.0,
    interpolate: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Number of frames in an interpolation between two latents, written to FILE.png "
            "or FILE.gif; one row for each of --classes, or of the first ten.",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Enlarge each pixel to N x N; auto, the default except for single images, gives "
            "each sample 96 pixels or more. With 1, a grid has no class names either.",
        ),
    ] = None,
    latents: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npy",
            help="Latents to draw instead of random ones, an array (number, latent_size); "
            "--truncation scales them.",
        ),
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(
            help="bfloat16 is faster where the hardware has it, float16 on older GPUs with tensor "
            "cores, and both are nearly the same."
        ),
    ] = "float32",
    device: Device = None,
) -> None:
    """Draw images: a grid, single files, or an interpolation between two latents.

    Example: [bold]sagan sample runs/photos --out grid.png --num 64[/]
    """
    from sagan.display import PackingProgress
    from sagan.gallery import number_of_samples, parse_scale, write_interpolation, write_samples
    from sagan.runtime.processes import join_processes, report_lost_processes
    from sagan.sampling import open_same_model, read_latents

    number, factor = number_of_samples(num, interpolate, latents), parse_scale(scale)
    processes = join_processes(device)
    with report_lost_processes("the same command starts again"):
        opened = open_same_model(model)
        labels = opened.labels(classes) if classes is not None else None
        generator = opened.generator(precision=precision).to(processes.device)
        given = read_latents(latents, generator.latent_size) if latents is not None else None
        if interpolate is not None:
            if processes.is_main_process:
                write_interpolation(
                    generator, out, interpolate, labels, seed, truncation, opened.classes,
                    scale=factor, credits=opened.credits,
                )  # fmt: skip
        else:
            number = len(given) if given is not None else number
            with PackingProgress(open_console(), "generating", after=2.0) as progress:
                write_samples(
                    generator, out, number, labels, opened.classes, seed, truncation, progress,
                    scale=factor, credits=opened.credits, latents=given,
                )  # fmt: skip
    if processes.is_main_process:
        say(f"wrote {out}")
