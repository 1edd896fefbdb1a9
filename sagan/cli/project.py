"""`sagan project`."""

from pathlib import Path
from typing import Annotated

import typer

from sagan.cli.console import open_console, say
from sagan.cli.options import Classes, Device, ModelName, SeedOption


def project(
    model: ModelName,
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Image file.")],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE.png",
            help="Picture to write: the photo, the nearest random sample, and the projection.",
        ),
    ],
    latents: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npy", help="Also write the latents, for sagan sample --latents."
        ),
    ] = None,
    classes: Classes = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of Adam.")] = 120,
    seed: SeedOption = 0,
    device: Device = None,
) -> None:
    """Find the latents whose sample comes nearest to a photo.

    Adam moves the latents of the nearest random samples toward the photo, in the discriminator's
    features and in pixels.

    Example: [bold]sagan project cifar10-32 cat.jpg --out nearest.png[/]
    """
    import io

    import numpy as np
    from rich.progress import Progress

    from sagan.errors import SaganError
    from sagan.explain.projection import project_photo
    from sagan.gallery import save_image
    from sagan.runtime.device import choose_device
    from sagan.storage.files import write_bytes

    chosen = choose_device(device)
    for path, ending in ((out, ".png"), (latents, ".npy")):
        if path is not None and path.suffix.lower() != ending:
            raise SaganError(f"'{path}' must end in {ending}")
    console = open_console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("projecting", total=steps)
        found, picture, name, credits = project_photo(
            model,
            photo,
            classes,
            steps,
            seed,
            lambda done, total: bar.update(task, completed=done, total=total),
            chosen,
        )
    save_image(picture, out, credits)
    say(
        f"distance in features: {found.distance:.3f}"
        f"{f' as {name}' if name else ''}; nearest random sample: {found.random_distance:.3f}"
    )
    say(f"wrote {out}")
    if latents is not None:
        encoded = io.BytesIO()
        np.save(encoded, found.latents[None])
        write_bytes(latents, encoded.getvalue())
        say(f"wrote {latents}: draw it with sagan sample --latents")
