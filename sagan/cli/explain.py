"""`sagan explain`, `sagan explore` and `sagan report`."""

from pathlib import Path
from typing import Annotated

import typer

from sagan.cli.console import say
from sagan.cli.options import Classes, ModelName, Seed
from sagan.errors import SaganError


def explain(
    model: ModelName,
    out: Annotated[Path | None, typer.Option(help="FILE.png, FILE.svg or FILE.pdf.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="FILE.html: a page to point at, without a server.")
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="A picture: show D's attention on it, not G's; may be repeated."),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="A pixel to ask about; may be repeated."),
    ] = None,
    grid: Annotated[
        int | None, typer.Option(min=1, max=8, help="Ask about a grid of N x N pixels.")
    ] = None,
    dots: Annotated[
        int | None,
        typer.Option(
            min=1, max=6, help="How many pixels to find without --query and --grid; 4 unless given."
        ),
    ] = None,
    num: Annotated[
        int | None,
        typer.Option(
            min=1, max=16, help="How many samples: 4 in a figure, 12 on a page, or one per class."
        ),
    ] = None,
    classes: Classes = None,
    seed: Seed = 0,
) -> None:
    """Show what pixels attend to: a dot, and the region it draws on lit up.

    Without --query or --grid the dots are put where attention looks far and is the pixel's own.
    Beside them: how far and how sharply every pixel looks, and what a convolution would see.

    Example: [bold]sagan explain runs/photos --out attention.png --query 12,9[/]
    """
    if out is None and html is None:
        raise SaganError("say where to write: give --out FILE.png, --html FILE.html or both")
    if sum(map(bool, (query, grid, dots))) > 1:
        raise SaganError("--query, --grid and --dots each say where to look: give one of them")
    if image and (num or classes):
        raise SaganError("--num and --classes choose samples; with --image leave them out")
    if out is None and (query or grid or dots):
        raise SaganError(
            "--query, --grid and --dots are for figures; on the page you point yourself: "
            "leave them out, or give --out FILE.png"
        )
    if html is not None:
        from sagan.storage.files import check_page_name

        check_page_name(html)
    asked = len(classes.split(",")) if classes else 0
    if out is not None:
        from sagan.explain.draw import explain_photos, explain_samples, given_dots, grid_dots
        from sagan.explain.draw import interesting_dots as interesting

        choose = given_dots(query) if query else grid_dots(grid) if grid else interesting(dots or 4)
        if image:
            explain_photos(model, image, out, choose)
        else:
            explain_samples(model, out, choose, num or max(4, asked), classes, seed)
        say(f"wrote {out}")
    if html is not None:
        from sagan.explorer.export import export_page

        export_page(model, html, image or [], num or max(12, asked), classes, seed)
        say(f"wrote {html}")


def explore(
    model: ModelName,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="7326 unless that is taken; 0 for any free one."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the browser.")] = False,
) -> None:
    """Open a page where you point at a pixel and see where it looks.

    For a run directory the page also shows how training goes, while it goes on.

    Example: [bold]sagan explore runs/photos[/]
    """
    from sagan.explorer.app import serve

    serve(model, host, port, open_browser=not no_open)


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run directory, also of a run in progress.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The file to write.")],
) -> None:
    """Write one page on a run: samples and attention over time, curves, settings, environment.

    It is one file that needs no other and no network.

    Example: [bold]sagan report runs/photos --out photos.html[/]
    """
    from sagan.report import write_report

    write_report(run, out)
    say(f"wrote {out}")
