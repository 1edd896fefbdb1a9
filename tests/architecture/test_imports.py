"""The package is built in layers, as the map in docs/architecture.md lists them, bottom first."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sagan"
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FILES = sorted(PACKAGE.rglob("*.py"))
WEB_FRAMEWORK = {"fastapi", "starlette", "uvicorn"}
MAX_LINES = 400


def layers() -> list[str]:
    """The package's rooms and top-level files in the order of the map."""
    block = MAP.partition("```\nsagan/\n")[2].partition("```")[0].partition("\nbenchmarks/")[0]
    return re.findall(r"^  (\w+)(?:\.py|/) ", block, re.MULTILINE)


LAYERS = layers()


def layer_of(parts: tuple[str, ...]) -> str:
    """Where a file or a dotted module below `sagan` stands: "nn" of nn/attention.py."""
    return parts[0].removesuffix(".py")


@cache
def imported(file: Path) -> tuple[str, ...]:
    """The dotted names of all modules that a file imports, wherever in it the import stands."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # from sagan.run import checkpoint: the module is the longer name
            names += (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    return tuple(names)


def own_imports(file: Path) -> Iterator[tuple[str, ...]]:
    for name in imported(file):
        parts = tuple(name.split("."))
        if parts[0] == "sagan" and len(parts) > 1:
            yield parts[1:]


def test_the_map_lists_every_room_and_file_of_the_package_once() -> None:
    there = {
        path.name.removesuffix(".py")
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or path.is_dir()) and not path.name.startswith("__")
    }
    assert sorted(LAYERS) == sorted(there)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_nothing_imports_upwards(file: Path) -> None:
    parts = file.relative_to(PACKAGE).parts
    if parts[0].startswith("__"):
        return  # __init__ offers what is below, __main__ starts the command line
    own = LAYERS.index(layer_of(parts))
    for module in own_imports(file):
        assert LAYERS.index(layer_of(module)) <= own, ".".join(module)


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {file: ".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in FILES}
    names = {file: name.removesuffix(".__init__") for file, name in names.items()}
    known = set(names.values())
    uses = {
        name: {".".join(module) for module in own_imports(file)} & known - {name}
        for file, name in names.items()
    }
    while free := {name for name, others in uses.items() if not others & uses.keys()}:
        for name in free:
            del uses[name]
    assert not uses, f"in circles: {', '.join(sorted(uses))}"


def test_the_networks_know_nothing_of_runs_configurations_and_data() -> None:
    # Storage, because a frozen network reads its weights from a package.
    allowed = {"nn", "images", "storage", "runtime", "errors", "types"}
    for file in (PACKAGE / "nn").rglob("*.py"):
        assert {layer_of(module) for module in own_imports(file)} <= allowed, file.name


@pytest.mark.parametrize(
    ("libraries", "where"),
    [
        ({"typer", "click"}, re.compile(r"cli/")),
        (WEB_FRAMEWORK, re.compile(r"explorer/(app|security|sockets)\.py")),
    ],
)
def test_a_library_of_an_interface_is_imported_by_that_interface_only(
    libraries: set[str], where: re.Pattern[str]
) -> None:
    for file in FILES:
        if {name.split(".")[0] for name in imported(file)} & libraries:
            assert where.match(file.relative_to(PACKAGE).as_posix()), file.name


def test_files_are_short_enough_to_be_read_and_the_root_small_enough_to_be_seen() -> None:
    long = [file.name for file in FILES if file.read_bytes().count(b"\n") > MAX_LINES]
    assert not long
    assert len(list(PACKAGE.glob("*.py"))) <= 15
