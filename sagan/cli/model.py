"""`sagan export`, `sagan inspect` and `sagan presets`."""

from pathlib import Path
from typing import Annotated

import typer

from sagan.cli.console import open_console, say, show
from sagan.cli.options import ModelName


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="Model file to write.")],
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.md", help="Model card to include: data, license, recipe, weaknesses."
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store weights as 16-bit floats, at half the size.")
    ] = False,
) -> None:
    """Export a run as one model file: averaged generator, discriminator, configuration, card.

    Example: [bold]sagan export runs/photos photos.safetensors --card photos.md[/]
    """
    from sagan.model import export_model, open_model
    from sagan.storage.files import read_text

    export_model(open_model(run), out, read_text(card) if card else "", half)
    say(f"wrote {out}")


def inspect(model: ModelName) -> None:
    """Describe a run or a model file.

    Example: [bold]sagan inspect runs/photos[/]
    """
    from sagan.model import open_model
    from sagan.summary import config_table, model_lines

    opened = open_model(model)
    open_console().print(config_table(opened.config, opened.origin))
    show(model_lines(opened))


def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Preset to show in full.")
    ] = None,
) -> None:
    """List the presets, or show all settings of one.

    Example: [bold]sagan presets cpu-32[/]
    """
    from sagan.config import resolve
    from sagan.summary import config_table, preset_lines

    if name is not None:
        open_console().print(config_table(resolve(name), name))
    else:
        show(preset_lines())
