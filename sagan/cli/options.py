"""Arguments and options that several commands share."""

from typing import Annotated

import typer

MODEL = typer.Argument(
    metavar="MODEL",
    help="Run directory, checkpoint folder, model file, hf:USER/NAME on the hub, or shipped model: "
    "avatars-64, cifar10-32, openmoji-64.",
)
ModelName = Annotated[str, MODEL]
SourceOption = Annotated[
    str,
    typer.Option(
        "--data",
        help="avatars (built-in faces), openmoji, a folder (subfolders are classes), a .zip of "
        "one, a packed set or the URL of one in shards, .parquet, .arrow or WebDataset .tar files, "
        "CIFAR archives, or hf:NAME.",
    ),
]
SourceArgument = Annotated[
    str, typer.Argument(metavar="SRC", help="Data set, as for sagan train --data.")
]
Split = Annotated[
    str, typer.Option(help="Split to read; all reads every split of a folder, zip or CIFAR.")
]
Classes = Annotated[
    str | None, typer.Option(help="Class names or numbers, separated by commas; all by default.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Random seed of the latents.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a setting of the preset; repeatable."
    ),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="MODEL",
        help="Model to start from: a run, a model file, hf:USER/NAME or a shipped model.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="cpu, cuda or mps; by default a GPU if there is one."),
]
# For commands that draw only a few images, which the CPU does as fast.
DeviceOrCPU = Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda or mps.")]
