"""The notebooks are stored without outputs, and start where the package is not installed.

`.ci/run` runs them by nbmake, with the tiny settings in the metadata of their cells.
"""

import ast
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from sagan.cli.app import app

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
RUN = "%run -m sagan "
# A kernel of Jupyter, as libraries recognize it, that has no ipywidgets.
PLAIN_JUPYTER = """
import sys
from types import ModuleType, SimpleNamespace

ipython = ModuleType("IPython")
ipython.get_ipython = lambda: SimpleNamespace(config={"IPKernelApp": {}})
sys.modules |= {"IPython": ipython, "ipykernel.zmqshell": ipython, "ipywidgets": None}
from sagan import load_generator
assert "tqdm.auto" in sys.modules
"""
by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[Any]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_two_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["attention", "train"]


@by_notebook
def test_outputs_are_not_stored(path: Path) -> None:
    for cell in code_cells(path):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        assert cell["metadata"].keys() <= {"nbmake"}


@by_notebook
def test_the_first_cell_installs_the_package_only_where_it_is_missing(path: Path) -> None:
    text = "".join(code_cells(path)[0]["source"])
    assert 'PACKAGE = "torch-sagan"' in text  # "sagan" on PyPI is another package
    assert 'if find_spec("sagan") is None:\n    %pip install --quiet {PACKAGE}' in text


@by_notebook
def test_tiny_settings_replace_variables_of_their_own_cell(path: Path) -> None:
    for cell in code_cells(path):
        tiny = cell["metadata"].get("nbmake", {}).get("mock", {})
        if tiny:
            names = [
                ast.unparse(node.targets[0]) for node in ast.parse("".join(cell["source"])).body
            ]
            assert tiny.keys() <= set(names)


@by_notebook
def test_every_command_is_accepted_by_the_command_line(path: Path) -> None:
    commands: Any = typer.main.get_command(app)
    lines = [line for cell in code_cells(path) for line in cell["source"]]
    found = [line.removeprefix(RUN) for line in lines if line.startswith(RUN)]
    assert found
    for line in found:
        name, *arguments = shlex.split(
            line.replace("{OPTIONS}", "--minutes 10").replace("{SEED}", "1")
        )
        command = commands.commands[name]
        if name == "data":
            name, *arguments = arguments
            command = command.commands[name]
        command.make_context(name, arguments)


def test_imports_print_no_warning_in_a_notebook_without_ipywidgets() -> None:
    done = subprocess.run([sys.executable, "-c", PLAIN_JUPYTER], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
