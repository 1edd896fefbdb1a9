"""`sagan explain`, `sagan explore` and `sagan report`."""

from pathlib import Path
from typing import Annotated

import typer

from sagan.cli.console import say
from sagan.cli.options import Classes, DeviceOrCPU, ModelName, SeedOption

Beside = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN", help="Another run to show beside this one: samples and attention, by step."
    ),
]


def explain(
    model: ModelName,
    out: Annotated[
        Path | None, typer.Option(help="Figure to write: FILE.png, FILE.svg or FILE.pdf.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Interactive page to write; it needs no server."),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="Show D's attention on this image, not G's on samples; repeatable."),
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="Pixel to ask about; repeatable.")
    ] = None,
    grid: Annotated[
        int | None, typer.Option(min=1, max=8, help="Ask about a grid of N x N pixels.")
    ] = None,
    dots: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=6,
            help="Number of query points to choose without --query or --grid; 4 by default.",
        ),
    ] = None,
    cut: Annotated[
        bool,
        typer.Option("--cut", help="Draw samples without attention instead, and what changes."),
    ] = False,
    num: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=16,
            help="Number of samples; by default 4 in a figure, 12 on a page, or as many as "
            "--classes names if these are more.",
        ),
    ] = None,
    classes: Classes = None,
    seed: SeedOption = 0,
    simple: Annotated[
        bool,
        typer.Option(
            "--simple",
            help="Write a figure for a lecture: one picture, one dot, one sentence, 1920 x 1080; "
            "as FILE.gif or FILE.webp, the dot moves.",
        ),
    ] = False,
    device: DeviceOrCPU = "cpu",
) -> None:
    """Show what pixels attend to: a query point, and the region it attends to highlighted.

    Without --query or --grid, query points are chosen where attention is long-range and specific
    to the pixel. The figure also shows how far and how sharply each pixel attends, and what a
    convolution would see.

    Example: [bold]sagan explain runs/photos --out attention.png --query 12,9[/]
    """
    from sagan.explain.draw import write_figure
    from sagan.explain.request import PAGE_SAMPLES, ExplainRequest
    from sagan.runtime.device import choose_device

    photos = image or []
    points = query or []
    request = ExplainRequest(out, html, photos, points, grid, dots, num, classes, cut, simple)
    chosen = choose_device(device)
    if out is not None and simple:
        from sagan.explain.simple import write_simple

        write_simple(model, out, request, seed, chosen)
        say(f"wrote {out}")
    elif out is not None:
        write_figure(model, out, request, seed, chosen)
        say(f"wrote {out}")
    if html is not None:
        from sagan.explorer.export import export_page

        samples = request.samples(PAGE_SAMPLES)
        export_page(model, html, photos, samples, classes, seed, chosen)
        say(f"wrote {html}")


def explore(
    model: ModelName,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port to listen on; by default 7326, or any free one if that is taken. 0 picks "
            "any free one.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to bind to; 0.0.0.0 accepts connections from other machines."),
    ] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    static: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the page as a folder for any web server instead: the networks then run in "
            "the visitor's browser.",
        ),
    ] = None,
    beside: Beside = None,
    device: DeviceOrCPU = "cpu",
) -> None:
    """Open a page where you point at a pixel and see what it attends to.

    For a run directory, the page also shows the training as it progresses.

    Example: [bold]sagan explore runs/photos[/]
    """
    if static is not None:
        from sagan.errors import SaganError
        from sagan.explorer.folder import write_folder

        if beside is not None:
            raise SaganError("--static writes a page without trainings: leave --beside out")
        write_folder(model, static, say)
        return
    from sagan.cli.signals import end_at_once
    from sagan.explorer.app import serve
    from sagan.runtime.device import choose_device

    end_at_once()
    chosen = choose_device(device)
    serve(model, host, port, open_browser=not no_open, device=chosen, beside=beside)


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory; training may still be running.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Page to write; it works offline.")
    ] = None,
    film: Annotated[
        Path | None,
        typer.Option(help="Film of the samples to write: FILE.webp, or FILE.gif, which is larger."),
    ] = None,
    beside: Beside = None,
) -> None:
    """Write a one-page report: samples and attention as a film, curves, settings, environment.

    With --film, write an animation of the samples that the training saved, or both.

    Example: [bold]sagan report runs/photos --out photos.html --film photos.webp[/]
    """
    from sagan.errors import SaganError
    from sagan.report import write_film, write_report

    if not out and not film:
        raise SaganError("nothing to write: give --out FILE.html, --film FILE.webp or both")
    if beside is not None and out is None:
        raise SaganError("--beside shows two runs on a page: give --out FILE.html")
    if out is not None:
        write_report(run, out, beside)
        say(f"wrote {out}")
    if film is not None:
        write_film(run, film)
        say(f"wrote {film}")
