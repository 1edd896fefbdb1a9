"""The notebooks are stored without outputs, and start where the package is not installed.

`.ci/run` runs them by nbmake, with the tiny settings in the metadata of their cells.
"""

import ast
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from sagan.cli.app import app

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
RUN = "%run -m sagan "
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
    assert 'if find_spec("sagan") is None:\n    %pip install --quiet torch-sagan' in text


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
