"""`--help` answers at once, and every command shows an example."""

import re
import shlex
import subprocess
import sys
import time

import pytest
from typer.main import get_command

from sagan.cli.app import app

COMMANDS = [
    [],
    ["demo"],
    ["train"],
    ["sample"],
    ["evaluate"],
    ["explain"],
    ["study"],
    ["report"],
    ["explore"],
    ["project"],
    ["export"],
    ["import"],
    ["push"],
    ["presets"],
    ["inspect"],
    ["data"],
    ["data", "info"],
    ["data", "pack"],
]
WITHOUT_TORCH = """
import sys
import sagan.cli
sys.argv = ["sagan", "--help"]
try:
    sagan.cli.main()
except SystemExit as end:
    assert end.code == 0, end.code
loaded = {"torch", "numpy", "PIL", "matplotlib", "pydantic", "accelerate"} & set(sys.modules)
assert not loaded, loaded
"""


IN_A_COMMAND = """
import gc, sys
from sagan.cli.app import _after_torch
before = gc.get_stats()[0]["collections"]

def command(number):
    assert number == 5
    assert "torch" in sys.modules
    print(gc.get_stats()[0]["collections"] - before, gc.isenabled(), gc.get_freeze_count() > 10**5)

_after_torch(command)(number=5)
"""


def test_no_garbage_is_collected_until_a_command_has_imported_torch() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_COMMAND], check=True, capture_output=True)
    assert done.stdout.split() == [b"0", b"True", b"True"]


def test_help_does_not_import_torch() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH], check=True, capture_output=True)


def test_help_takes_less_than_twice_as_long_as_importing_what_it_is_drawn_with() -> None:
    """Which is nearly all that it takes; what computes would take longer to import."""

    def seconds(code: str, *arguments: str) -> float:
        started = time.perf_counter()
        command = [sys.executable, "-c", code, *arguments]
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - started

    # In turn, as others may work on this machine: each at its best.
    answers, imports = [], []
    for _ in range(5):
        answers.append(seconds("from sagan.cli import main; main()", "--help"))
        imports.append(seconds("import typer, rich.console, rich.markdown, rich.panel, rich.table"))
        if min(answers) < 2 * min(imports):
            break
    assert min(answers) < 2 * min(imports)


def test_the_commands_listed_here_are_all_commands() -> None:
    top = get_command(app).commands  # type: ignore[attr-defined]
    below = {f"data {name}" for name in top["data"].commands}
    assert {" ".join(command) for command in COMMANDS} == {"", *top, *below}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ([], ["data"])])
def test_the_help_of_every_command_ends_with_a_runnable_example(command: list[str]) -> None:
    found = get_command(app)
    for name in command:
        found = found.commands[name]  # type: ignore[attr-defined]
    (example,) = re.findall(r"Example: \[bold\]sagan (.*)\[/\]\Z", (found.help or "").strip())
    words = shlex.split(example)
    assert words[: len(command)] == command
    found.make_context("sagan", words[len(command) :])  # which parses, and runs nothing


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != ["data"]])
def test_every_option_has_a_help_of_one_or_two_sentences(command: list[str]) -> None:
    found = get_command(app)
    for name in command:
        found = found.commands[name]  # type: ignore[attr-defined]
    for parameter in found.params:
        if parameter.name not in ("install_completion", "show_completion"):  # typer's own
            assert re.fullmatch(r"[^\n]{8,200}\.", parameter.help or ""), parameter.name


def test_the_help_of_evaluate_names_every_metric_and_the_defaults_of_python() -> None:
    from sagan.metrics import DEFAULT_METRICS, METRICS
    from sagan.metrics.features.network import DEFAULT_FEATURES, FEATURE_NETWORKS

    options = {option.name: option for option in get_command(app).commands["evaluate"].params}
    assert all(name in options["metrics"].help for name in METRICS)
    assert options["metrics"].default == ",".join(DEFAULT_METRICS)
    assert all(name in options["features"].help for name in FEATURE_NETWORKS)
    assert options["features"].default == DEFAULT_FEATURES
