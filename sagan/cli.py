"""The command line: a thin skin. Each command imports what it needs when it runs, so that
``sagan --help`` answers without torch."""

import math
import shlex
import sys
import threading
import warnings
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from sagan._version import __version__
from sagan.errors import SaganError, printable
from sagan.runtime.extras import needed_library
from sagan.runtime.malloc import keep_freed_memory
from sagan.storage.fsync import reason

if TYPE_CHECKING:
    from rich.console import Console

    from sagan.training.session import Session

app = typer.Typer(
    name="sagan",
    help="Self-attention GANs: train on your pictures, sample, and see the attention.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Look at a data set, or prepare it once.", no_args_is_help=True)
app.add_typer(data_app, name="data")

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


def main() -> None:
    """Run the command line; what the user can mend ends in one line and exit status 2."""
    warnings.showwarning = _show_warning
    threading.excepthook = _thread_failed
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a pipe's encoding may lack a class name's letters
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SaganError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a read-only folder
        _fail(": ".join(filter(None, (error.filename, reason(error)))))
    except MemoryError:
        _fail("there is not enough memory for this: ask for less at a time")


def _show(lines: Iterable[str]) -> None:
    # Names of classes and files, and a model's card, come from strangers.
    print("\n".join(map(printable, lines)), flush=True)


def _fail(message: str) -> NoReturn:
    print(f"sagan: {printable(message)}", file=sys.stderr)
    sys.exit(2)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    print(f"sagan: warning: {printable(str(message))}", file=sys.stderr)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    # TensorBoard's thread, whose next caller is told as well: a full disk is to be one line.
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)


def _version(asked: bool) -> None:
    if asked:
        print(f"sagan {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run and its pictures.")] = Path(
        "sagan-demo"
    ),
    minutes: Annotated[float, typer.Option(min=0.05, help="How long to train.")] = 3,
) -> None:
    """Train a small model on the built-in pictures, then show samples and the attention.

    Run it again to train on for as long.

    Example: [bold]sagan demo --minutes 3[/]
    """
    from sagan.demo import run_demo

    if not math.isfinite(minutes):
        raise SaganError(f"--minutes is a number of minutes, not {minutes}")
    run_demo(out, minutes, _console(), _train)


@app.command()
def train(
    data: Source,
    out: Annotated[Path, typer.Option(help="The run directory; one that holds a run goes on.")],
    preset: Annotated[
        str | None, typer.Option(help="A recipe: see sagan presets. By default cpu-32.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Generator updates in all.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Pack the pictures, show what would be trained, and stop."),
    ] = False,
) -> None:
    """Train on any pictures. The same command again resumes; Ctrl-C saves and stops.

    Example: [bold]sagan train --data photos/ --out runs/photos --preset cpu-32 --steps 3000[/]
    """
    from sagan.config import parse_assignments

    overrides = parse_assignments(settings or [])
    if steps is not None:
        overrides["steps"] = steps

    from sagan.display import PackingProgress
    from sagan.runtime.processes import join_processes, together
    from sagan.training.session import RESUME, prepare

    processes = join_processes()
    say = _say if processes.is_main_process else _say_nothing
    console = _console()
    # The first process of a machine packs the data; the others find it in the cache.
    with (
        together(RESUME),
        processes.local_main_process_first(),
        PackingProgress(console, "packing") as progress,
    ):
        session = prepare(data, out, preset, overrides, say, progress)
    if processes.is_main_process:
        _show_session(session, console)
    if not dry_run:
        _train(session, console)
        say(f"done: {out}. Next: sagan sample {shlex.quote(str(out))} --out samples.png")


def _train(session: "Session", console: "Console", time_limit: float = float("inf")) -> None:
    from accelerate import PartialState

    from sagan.display import reporter_for
    from sagan.training.loop import Interrupted, train

    try:
        train(session.run, session.description, session.dataset, reporter_for(console), time_limit)
    except Interrupted as interrupted:
        if PartialState().is_main_process:
            _say(f"stopped at step {interrupted.step}, saved; the same command goes on from there")
        sys.exit(128 + interrupted.signal_number)
    except KeyboardInterrupt:  # a second Ctrl-C, or one before the first step
        print("stopped at once; the last checkpoint is what it was", file=sys.stderr)
        sys.exit(130)


def _show_session(session: "Session", console: "Console") -> None:
    from sagan.summary import config_table, network_lines

    config, data = session.description.config, session.description.data
    console.print(config_table(config, session.description.preset))
    labels = f"{len(data['classes'])} classes" if data["classes"] else "no labels"
    _say(f"data       {data['source']}: {data['images']:,} pictures, {labels}")
    _show(network_lines(config, len(data["classes"])))


@app.command()
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
    _say(f"wrote {out}")


@app.command()
def evaluate(
    model: Annotated[str | None, _MODEL] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Real pictures to compare with, as for sagan train.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of the data is the reference.")] = "train",
    metrics: Annotated[
        str,
        typer.Option(
            help="Any of fid, kid, is, precision, recall, density, coverage, intra-fid, "
            "class-accuracy, near-copies, separated by commas."
        ),
    ] = "fid,kid,precision,recall,density,coverage",
    features: Annotated[
        str,
        typer.Option(help="efficientnet-lite0 (needs no download), inception (for FID) or dinov2."),
    ] = "efficientnet-lite0",
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of inception or dinov2.")
    ] = None,
    num: Annotated[int, typer.Option(min=2, help="How many samples.")] = 10_000,
    seed: Seed = 0,
    truncation: Annotated[float, typer.Option(min=0.0, help="Scales the latents.")] = 1.0,
    raw: Annotated[
        bool, typer.Option("--raw", help="The latest weights of G, not their average.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the numbers here.")
    ] = None,
    neighbours: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Also draw samples beside their nearest training pictures."
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Rank two evaluations instead."),
    ] = None,
) -> None:
    """Measure how near samples are to real pictures; numbers come with their protocol.

    FID itself needs --features inception, and a download; other features give other names.

    Example: [bold]sagan evaluate runs/photos --data photos/ --json photos.json[/]
    """
    if compare is not None:
        if model is not None or data is not None:
            raise SaganError("--compare looks at two files: leave MODEL and --data out")
        from sagan.metrics.comparison import compare as ranked
        from sagan.metrics.text import comparison_lines

        _show(comparison_lines(ranked(*compare)))
        return
    if model is None or data is None:
        raise SaganError("give a MODEL and --data, or --compare A.json B.json")
    with needed_library():
        from sagan.metrics.command import Request, run
        from sagan.metrics.plan import SamplePlan
    from sagan.display import PackingProgress, StageProgress
    from sagan.metrics.text import evaluation_lines
    from sagan.runtime.processes import join_processes, together
    from sagan.storage.files import write_json

    main = join_processes().is_main_process
    plan = SamplePlan(num, seed, truncation, "raw" if raw else "ema")
    request = Request(model, data, split, metrics, features, weights, plan, neighbours, json_file)
    console = _console()
    with (
        together("see what that one says"),
        PackingProgress(console, "packing") as packing,
        StageProgress(console) as progress,
    ):
        document = run(request, _say if main else _say_nothing, packing, progress)
    if main:
        _show(evaluation_lines(document))
        if json_file is not None:  # last: what was computed is to be seen where it cannot be kept
            write_json(json_file, document)


@app.command()
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
        _say(f"wrote {out}")
    if html is not None:
        from sagan.explorer.export import write_page

        write_page(model, html, image or [], num or max(12, asked), classes, seed)
        _say(f"wrote {html}")


@app.command()
def study(
    name: Annotated[
        Literal["attention", "spectral-norm", "discriminator"],
        typer.Argument(
            metavar="NAME",
            help="attention (does it draw better?), spectral-norm (does training hold?) "
            "or discriminator (are its features good?).",
        ),
    ],
    data: Source,
    out: Annotated[Path, typer.Option(help="The study's folder; one that holds a study goes on.")],
    preset: Annotated[str, typer.Option(help="The recipe of all runs.")] = "cpu-32",
    variants: Annotated[
        str | None, typer.Option(help="Which, separated by commas: see docs/studies.md.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant.")] = 3,
    steps: Annotated[int | None, typer.Option(help="Of each run; by default the preset's.")] = None,
    budget_minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Choose the steps so that all runs fit in.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each with its cores.")] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of all runs."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and what they would cost, and stop.")
    ] = False,
) -> None:
    """Put a claim about SAGAN to the test: runs, intervals over seeds, a verdict, a report.

    The same command again goes on; more seeds or variants may be added to a study that ended.

    Example: [bold]sagan study attention --data photos/ --out studies/attention --steps 3000[/]
    """
    from sagan.config import parse_assignments

    if budget_minutes is not None and not math.isfinite(budget_minutes):
        raise SaganError(f"--budget-minutes is a number of minutes, not {budget_minutes}")
    if steps is not None and budget_minutes is not None:
        raise SaganError("--steps and --budget-minutes both say how long runs are: give one")
    with needed_library():
        from sagan.studies.engine import conduct
        from sagan.studies.plan import Request
    from sagan.training.loop import Interrupted

    names = [part.strip() for part in (variants or "").split(",") if part.strip()]
    overrides = parse_assignments(settings or [])
    request = Request(name, data, out, preset, overrides, names, seeds, steps, budget_minutes, jobs)
    try:
        conduct(request, dry_run, _console(), _say)
    except (Interrupted, KeyboardInterrupt) as ended:
        _say("stopped; the same command goes on from there")
        sys.exit(128 + ended.signal_number if isinstance(ended, Interrupted) else 130)


@app.command()
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
    _say(f"wrote {out}")


@app.command()
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


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    card: Annotated[
        Path | None,
        typer.Option(metavar="FILE.md", help="Its model card: data, licence, recipe, weaknesses."),
    ] = None,
    half: Annotated[
        bool,
        typer.Option("--half", help="Keep weights in 16 bits: half the size."),
    ] = False,
) -> None:
    """Write one model file from a run: averaged generator, discriminator, configuration, card.

    Example: [bold]sagan export runs/photos photos.safetensors --card photos.md[/]
    """
    from sagan.model import export_model, open_model
    from sagan.storage.files import read_text

    export_model(open_model(run), out, read_text(card) if card else "", half)
    _say(f"wrote {out}")


@app.command()
def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show all settings of this one.")
    ] = None,
) -> None:
    """List the recipes that --preset takes, or what one of them sets.

    Example: [bold]sagan presets cpu-32[/]
    """
    from sagan.config import resolve
    from sagan.summary import config_table, preset_lines

    if name is None:
        _show(preset_lines())
    else:
        _console().print(config_table(resolve(name), name))


@app.command()
def inspect(model: ModelName) -> None:
    """Say what a run or a model file is.

    Example: [bold]sagan inspect runs/photos[/]
    """
    from sagan.model import open_model
    from sagan.summary import config_table, model_lines

    opened = open_model(model)
    _console().print(config_table(opened.config, opened.origin))
    _show(model_lines(opened))


@data_app.command("info")
def data_info(
    source: Annotated[str, typer.Argument(metavar="SRC", help="As for sagan train --data.")],
    split: Annotated[
        str, typer.Option(help="Which part; all for every one of a folder, zip or CIFAR.")
    ] = "train",
    sheet: Annotated[
        Path | None, typer.Option(help="FILE.png: also write a sheet with some of the pictures.")
    ] = None,
) -> None:
    """Count, measure and check the pictures of a source, and say what that means for training.

    Example: [bold]sagan data info photos/ --sheet photos.png[/]
    """
    from sagan.data import describe
    from sagan.data.contact_sheet import check_sheet, write_sheet
    from sagan.display import PackingProgress
    from sagan.summary import dataset_lines

    if sheet is not None:
        check_sheet(sheet)
    with PackingProgress(_console(), "looking at") as progress:
        info = describe(source, split=split, thumbnails=sheet is not None, progress=progress)
    _show(dataset_lines(info))
    if sheet is not None:
        write_sheet(info.thumbnails, sheet)
        _say(f"wrote {sheet}")


@data_app.command("pack")
def data_pack(
    source: Annotated[str, typer.Argument(metavar="SRC", help="As for sagan train --data.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    size: Annotated[int, typer.Option(min=1, help="Side of the pictures in pixels.")],
    split: Annotated[
        str, typer.Option(help="Which part; all for every one of a folder, zip or CIFAR.")
    ] = "train",
    fit: Annotated[str, typer.Option(help="crop, pad or stretch to a square.")] = "crop",
    max_unreadable: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Stop when a greater share of files is unreadable."),
    ] = 0.1,
) -> None:
    """Decode and resize a data set once, into a folder that training reads directly.

    Interrupted, it leaves nothing behind under that name; the same command starts over.

    Example: [bold]sagan data pack photos/ photos-64 --size 64[/]
    """
    from sagan.data import pack
    from sagan.data.packed import read_manifest
    from sagan.display import PackingProgress

    with PackingProgress(_console(), "packing") as progress:
        dataset = pack(
            source, out, size, fit=fit, split=split, max_unreadable=max_unreadable,
            progress=progress,
        )  # fmt: skip
    manifest = read_manifest(out)
    _show((*manifest.notes, *manifest.findings()))
    _say(f"wrote {out}: {len(dataset):,} pictures of {size} x {size}")


def _console() -> "Console":
    from rich.console import Console

    # A log is none, though FORCE_COLOR calls it a terminal: lines in it cannot be redrawn.
    return Console(force_interactive=None if sys.stdout.isatty() else False)


def _say(line: str) -> None:
    _show([line])


def _say_nothing(line: str) -> None:
    pass
