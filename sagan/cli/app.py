"""The entry of the command line, and how errors end.

Each command imports what it needs when it runs, so that `sagan --help` does not wait for torch.
"""

import contextlib
import functools
import gc
import os
import sys
import threading
import warnings
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

from sagan._version import __version__
from sagan.cli.data import data_info, data_pack
from sagan.cli.evaluate import evaluate
from sagan.cli.explain import explain, explore, report
from sagan.cli.model import export, import_weights, inspect, presets, push
from sagan.cli.project import project
from sagan.cli.sample import sample
from sagan.cli.signals import ending_in_order
from sagan.cli.study import study
from sagan.cli.train import demo, train
from sagan.errors import SaganError, is_out_of_memory, printable, reason, shorten
from sagan.runtime.malloc import keep_freed_memory

app = typer.Typer(
    name="sagan",
    help="Self-attention GANs: train on your images, draw samples, and see what pixels attend to.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Inspect a data set, or pack it for training.", no_args_is_help=True)


def main() -> None:
    """Run the command line; errors that the user can fix end in one line and exit status 2."""
    warnings.showwarning = _show_warning
    threading.excepthook = _thread_failed
    keep_freed_memory()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # torch's own reports of a lost connection are stacks of C++ calls; ours is one line.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a pipe's encoding may lack a class name's letters
            stream.reconfigure(errors="backslashreplace")
    try:
        with ending_in_order():
            app()
    except SaganError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a read-only folder
        where = f"'{error.filename}': " if error.filename else ""
        _fail(where + reason(error))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        _fail("not enough memory: ask for less at a time")


def _fail(message: str) -> NoReturn:
    with contextlib.suppress(OSError):
        print(f"sagan: {shorten(printable(message))}", file=sys.stderr)
    sys.exit(2)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    with contextlib.suppress(OSError):  # a closed terminal must not end a training
        print(f"sagan: warning: {shorten(printable(str(message)))}", file=sys.stderr)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    # TensorBoard's own thread: its caller gets the same error, which must end in one line only.
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)


def _version(asked: bool) -> None:
    if asked:
        print(f"sagan {__version__}")
        raise typer.Exit


# Under a launcher, the processes of these commands work together, or refuse. Any other runs in one.
_DIVIDED = {"demo", "train", "sample", "evaluate", "study"}


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    rank, number = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if rank != "0" and number != "1" and context.invoked_subcommand not in _DIVIDED:
        print(f"sagan: process {rank} of {number} leaves this to process 0", file=sys.stderr)
        raise typer.Exit


def _after_torch(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that imports torch first, in less time than a plain import takes.

    While torch makes its 280,000 objects, Python's garbage collector would visit them many times,
    which is a sixth of the import's time. Nor need it visit them afterward.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        gc.disable()
        try:
            import torch  # noqa: F401
        finally:
            gc.freeze()
            gc.enable()
        command(*arguments, **options)

    return run


_COMMANDS: tuple[Callable[..., None], ...] = (
    *(demo, train, sample, evaluate, explain, explore, project, study, report),
    *(export, push, presets, inspect),
)
_WITHOUT_TORCH = (report, presets)
for command in _COMMANDS:
    app.command()(command if command in _WITHOUT_TORCH else _after_torch(command))
app.command("import")(_after_torch(import_weights))  # the command's name is a keyword of Python
data_app.command("info")(data_info)
data_app.command("pack")(data_pack)
app.add_typer(data_app, name="data")
