"""`sagan export`, `sagan push`, `sagan import`, `sagan inspect` and `sagan presets`."""

from pathlib import Path
from typing import Annotated

import typer

from sagan.cli.console import open_console, show
from sagan.cli.options import ModelName
from sagan.runtime.shell import quoted


def export(
    model: ModelName,
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="File to write: NAME.safetensors, a model file; NAME.onnx, or NAME.pt2 for "
            "torch.export, one network for other programs.",
        ),
    ],
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.md", help="Model card to include: data, license, recipe, weaknesses."
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store weights as 16-bit floats, at half the size.")
    ] = False,
    discriminator: Annotated[
        bool,
        typer.Option(
            "--discriminator", help=".onnx, .pt2: write the discriminator, not the generator."
        ),
    ] = False,
    maps: Annotated[
        bool, typer.Option("--maps", help=".onnx, .pt2: also output the attention maps.")
    ] = False,
) -> None:
    """Export a model as one model file, or one of its networks as ONNX or for torch.export.

    A model file has both networks, the configuration and the card, and every command reads it.

    Example: [bold]sagan export runs/photos photos.safetensors --card photos.md[/]
    """
    from sagan.exporting import formats
    from sagan.model import open_model
    from sagan.storage.files import read_text

    text = read_text(card) if card else ""
    show(formats.export(open_model(model), out, text, half, discriminator, maps))


def push(
    model: ModelName,
    name: Annotated[
        str | None,
        typer.Argument(metavar="USER/NAME", help="Model on the hub; created if missing."),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(metavar="FILE.md", help="Model card; by default the model's own."),
    ] = None,
    license: Annotated[
        str, typer.Option(metavar="ID", help="License in the card: mit, cc-by-4.0, other.")
    ] = "",
    private: Annotated[
        bool, typer.Option("--private", help="Create it private; refuse if it is public.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the hub's files into a folder; push nothing."),
    ] = None,
) -> None:
    """Push a model to the Hugging Face hub, where every command finds it as hf:USER/NAME.

    With --folder, write the same files into a folder, which every command takes as a MODEL.

    Example: [bold]sagan push runs/photos anna/photos --license mit[/]
    """
    from sagan.errors import SaganError
    from sagan.model import open_model
    from sagan.storage.files import read_text

    text = read_text(card) if card else ""
    if folder is not None:
        if name is not None or private:
            raise SaganError("--folder pushes nothing: leave USER/NAME and --private out")
        open_model(model).save_pretrained(folder, text, license)
        show([f"wrote {folder}", f"push it: hf upload USER/NAME {quoted(folder)}"])
        return
    if name is None:
        raise SaganError("give USER/NAME to push to, or --folder DIR to write the files only")
    page = open_model(model).push_to_hub(name, text, license, private)
    pushed = "hf:" + name.removeprefix("hf:")
    show([f"pushed to {page}", f"try it: sagan sample {pushed} --out grid.png"])


def import_weights(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="State dict or checkpoint with the generator."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="Model file to write.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="PROJECT",
            help="studiogan, mmgeneration, biggan-pytorch, heykeetae, mimicry, or auto.",
        ),
    ] = "auto",
    discriminator: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the discriminator, if it is another one."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Take the latest weights of the generator, not averaged.")
    ] = False,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="What the file does not say: norm_eps=1e-5, rectified_skip=true, channels=bgr.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.txt", help="Names of the classes, one a line, in the order of the labels."
        ),
    ] = None,
) -> None:
    """Import another project's SAGAN as a model file, with the same images and logits.

    Example: [bold]sagan import G.pth sagan.safetensors --from studiogan --discriminator D.pth[/]
    """
    from sagan.imports.convert import import_model
    from sagan.model import export_model
    from sagan.storage.files import read_text

    lines = read_text(classes).splitlines() if classes is not None else []
    names = [line.strip() for line in lines if line.strip()]
    model = import_model(file, source, discriminator, raw, assume or (), names)
    export_model(model, out)
    show([*model.card.splitlines(), f"wrote {out}"])


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
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print it as a file for sagan train --config.")
    ] = False,
) -> None:
    """List the presets, or show all settings of one.

    Example: [bold]sagan presets cpu-32[/]
    """
    from sagan.config import resolve
    from sagan.errors import SaganError
    from sagan.summary import config_table, preset_lines, yaml_lines

    if as_yaml and name is None:
        raise SaganError("--yaml prints one preset: name it")
    if name is not None and as_yaml:
        show(yaml_lines(resolve(name), name))
    elif name is not None:
        open_console().print(config_table(resolve(name), name))
    else:
        show(preset_lines())
