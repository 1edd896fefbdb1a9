"""`sagan sample`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sagan.cli.console import say
from sagan.cli.options import Classes, ModelName, Seed
from sagan.errors import SaganError


def sample(
    model: ModelName,
    out: Annotated[
        Path,
        typer.Option(help="FILE.png (a grid), FILE.zip or a folder (single pictures)."),
    ],
    num: Annotated[
        int | None, typer.Option(min=1, help="How many pictures; 64 unless given.")
    ] = None,
    classes: Classes = None,
    seed: Seed = 0,
    truncation: Annotated[
        float,
        typer.Option(min=0.0, help="Scales the latents. Below 1: less variety, not always better."),
    ] = 1.0,
    interpolate: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Frames of a way between two latents, to FILE.png or FILE.gif; a row for each of "
            "--classes, or of the first ten.",
        ),
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16"],
        typer.Option(help="bfloat16 is faster where the processor has it, and nearly the same."),
    ] = "float32",
) -> None:
    """Draw pictures: a grid, single files, or a strip or film between two latents.

    Example: [bold]sagan sample runs/photos --out grid.png --num 64[/]
    """
    from sagan.gallery import write_interpolation, write_samples
    from sagan.model import open_model
    from sagan.runtime.device import default_device

    if interpolate is not None and num is not None:
        raise SaganError("--interpolate has a row for each class: leave --num out")
    opened = open_model(model)
    labels = None if classes is None else opened.labels(classes)
    generator = opened.generator(precision=precision).to(default_device())
    if interpolate is not None:
        write_interpolation(generator, out, interpolate, labels, seed, truncation)
    else:
        write_samples(generator, out, num or 64, labels, opened.classes, seed, truncation)
    say(f"wrote {out}")
