"""Options that several commands share."""

from typing import Annotated

import typer

Source = Annotated[
    str,
    typer.Option(
        "--data",
        help="openmoji (built in), a folder (class sub-folders become labels), a .zip of the same, "
        "a packed set, .parquet, .arrow or webdataset .tar files, CIFAR's archives, or hf:NAME.",
    ),
]
_MODEL = typer.Argument(
    metavar="MODEL",
    help="A run, a checkpoint's folder, a model file, or a shipped model: cifar10-32, openmoji-64.",
)
ModelName = Annotated[str, _MODEL]
Classes = Annotated[
    str | None, typer.Option(help="Class names or numbers, separated by commas; all by default.")
]
Seed = Annotated[int, typer.Option(min=0, help="Decides the latents.")]
