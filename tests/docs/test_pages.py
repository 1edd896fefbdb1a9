"""The documentation names only commands, options, settings, files and names that exist."""

import ast
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from sagan.cli.app import app
from sagan.config import Config

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs" / "api").glob("*.md"),
        ROOT / "docs" / "studies" / "README.md",
    ]
)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMMANDS: Any = typer.main.get_command(app)
SHELL = {"sh", "text", "console", "bat"}  # the fences that commands stand in
FOLDERS = "sagan|docs|tests|scripts|benchmarks|runs"
# Options of pip, torchrun, SLURM and the benchmarks that pages mention by themselves
OPTIONS_OF_OTHERS = {
    *("--checkout", "--index-url", "--max-restarts", "--rdzv-conf", "--rdzv-endpoint"),
    *("--node-rank", "--shutdown-timeout", "--nproc-per-node", "--master-port"),
    *("--requeue", "--kill-on-bad-exit=1", "--signal=B:TERM@120"),
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, and its lines with continuations joined."""

    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        return re.sub(r"\s*\\\n\s*", " ", self.text).splitlines()


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```([\w-]*)[^\n]*\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)
    return [Block(language, text) for language, text in found]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def inline_code(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def commands(page: Path) -> Iterator[str]:
    """The lines of shell blocks, and inline code."""
    yield from inline_code(page)
    for block in blocks(page):
        yield from block.lines if block.language in SHELL else ()


def code(page: Path) -> Iterator[str]:
    """Every piece of code on a page."""
    yield from inline_code(page)
    yield from (block.text for block in blocks(page))


def words_after_sagan(line: str) -> list[str] | None:
    """The arguments of a `sagan` command on this line, or None if there is not one."""
    found = re.search(r"(?:^|\s|/|\\)sagan ((?!:).+)$", line)
    if found is None or line.lstrip().startswith(("#", "from ", "import ")):
        return None
    return shlex.split(re.split(r"\s[|>;]|\s2>|\)\s", found[1])[0], comments=True)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that `words` name, and the arguments that are left."""
    command = COMMANDS
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def option_names(command: Any) -> set[str]:
    names = {"--help", "-h"}
    return names.union(*(p.opts + p.secondary_opts for p in command.params))


def settings_of(words: list[str]) -> list[str]:
    """The keys that `--set` changes; a value may stand for any, as in `--set key=value`."""
    given = [value for flag, value in pairwise(words) if flag == "--set"]
    return [value.partition("=")[0] for value in given if value != "key=value"]


def by_page(pages: list[Path]) -> Any:
    return pytest.mark.parametrize("page", pages, ids=lambda p: str(p.relative_to(ROOT)))


@by_page(PAGES)
def test_every_command_in_a_block_is_accepted_by_the_command_line(page: Path) -> None:
    for block in blocks(page):
        for line in block.lines if block.language in SHELL else ():
            words = words_after_sagan(line)
            if not words or words[-1] == "...":
                continue
            command, arguments = command_of(words)
            assert not hasattr(command, "commands") or arguments == ["--help"], line
            if not hasattr(command, "commands"):
                command.make_context(command.name, arguments)


@by_page(PAGES)
def test_every_option_that_is_mentioned_exists(page: Path) -> None:
    for piece in commands(page):
        words = words_after_sagan(piece)
        if not words:
            continue
        command, arguments = command_of(words)
        options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
        assert set(options) <= option_names(command), piece


@by_page(PAGES)
def test_every_option_that_stands_alone_belongs_to_some_command(page: Path) -> None:
    def all_options(command: Any) -> set[str]:
        below = getattr(command, "commands", {}).values()
        return option_names(command).union(*(all_options(c) for c in below))

    known = all_options(COMMANDS)
    for piece in inline_code(page):
        if re.match(r"--[a-z]", piece) and piece.split()[0] not in OPTIONS_OF_OTHERS:
            words = shlex.split(piece)
            assert words[0].partition("=")[0] in known, piece


@by_page(PAGES)
def test_every_setting_is_a_field_of_the_configuration(page: Path) -> None:
    for piece in commands(page):
        for key in settings_of(piece.split()):
            assert key in Config.model_fields, piece


@by_page(PAGES)
def test_every_setting_with_a_value_is_a_field_of_the_configuration(page: Path) -> None:
    for piece in inline_code(page):
        # a keyword argument in Python has quotes, True or a dotted name: form="full",
        # spectral_norm=False, initializer=torch.nn.init.orthogonal_
        found = re.fullmatch(
            r"([a-z][a-z0-9_]*)=(?!\"|True|False|None|\.\.\.|torch\.)[\w.,-]*", piece
        )
        if found and found[1] != "key":
            assert found[1] in Config.model_fields, piece


@by_page(PAGES)
def test_every_file_of_the_project_that_is_named_exists(page: Path) -> None:
    pattern = (
        rf"(?<![\w./$-])(?:{FOLDERS})/[\w./-]*(?:\.(?:py|md|json|js|png|svg|sh|csv)|/)(?![\w-])"
    )
    for piece in code(page):
        for name in re.findall(pattern, piece):
            if re.match(r"runs/(?!.*\.sh$)", name) or "NAME" in name:
                continue  # a user's own run, a placeholder
            assert (ROOT / name).exists(), name


@by_page(PAGES)
def test_every_relative_link_and_anchor_leads_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]+`", "", prose(page))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        if built := re.fullmatch(r"explore/([\w-]+)/index\.html", target):  # by `make site`
            assert built[1] in re.findall(r"^SHIPPED := (.*)$", MAKEFILE, re.MULTILINE)[0].split()
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@by_page([page for page in PAGES if any(b.language == "python" for b in blocks(page))])
def test_every_python_example_is_python_and_imports_what_exists(page: Path) -> None:
    for block in blocks(page):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sagan"):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


@by_page(PAGES)
def test_every_dotted_name_of_the_package_can_be_imported(page: Path) -> None:
    names = re.findall(r"^::: (sagan\.[\w.]+)$", text_of(page), re.MULTILINE)
    names += [name for name in inline_code(page) if re.fullmatch(r"sagan(\.\w+)+", name)]
    for name in names:
        parts = name.split(".")
        value, rest = importlib.import_module(parts[0]), parts[1:]
        while rest:
            if not hasattr(value, rest[0]):
                importlib.import_module(f"{value.__name__}.{rest[0]}")
            value, rest = getattr(value, rest[0]), rest[1:]


@pytest.mark.parametrize(
    ("package", "page"),
    [
        ("sagan", "index.md"),
        ("sagan.data", "data.md"),
        ("sagan.metrics", "metrics.md"),
        ("sagan.explain", "explain.md"),
    ],
)
def test_the_api_reference_covers_every_public_name(package: str, page: str) -> None:
    file = ROOT / "docs" / "api" / page
    covered = {name.rpartition(".")[2] for name in inline_code(file)}
    for target in re.findall(r"^::: ([\w.]+)$", text_of(file), re.MULTILINE):
        covered.add(target.rpartition(".")[2])
        if (ROOT / target.replace(".", "/")).with_suffix(".py").is_file():  # all of a module
            covered.update(vars(importlib.import_module(target)))
    public = set(importlib.import_module(package).__all__)
    assert public - covered - {"__version__"} == set()


@by_page(PAGES)
def test_every_script_module_make_target_and_extra_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for piece in commands(page):
        for target in re.findall(r"^make ([a-z]+)", piece):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), piece
        for extras in re.findall(r"\.\[([a-z,]+)\]", piece):
            for extra in extras.split(","):
                assert re.search(rf"^{extra} = \[", project, re.MULTILINE), piece
        for name in re.findall(r"python -m (benchmarks(?:\.\w+)?)", piece):
            assert importlib.util.find_spec(name), piece
        if script := re.search(r"(?:python (scripts/\w+\.py)|python -m benchmarks\.(\w+))", piece):
            file = ROOT / (script[1] or f"benchmarks/{script[2]}.py")
            file = file if file.exists() else file.with_suffix("") / "__main__.py"
            source = file.read_text("utf-8")
            for option in re.findall(r"\s(--[a-z-]+)", piece.partition("#")[0]):
                assert f'"{option}"' in source, piece


@by_page(PAGES)
def test_no_command_hides_in_an_indented_block(page: Path) -> None:
    # the tests above read fenced blocks
    assert not re.findall(r"^ {4,}(?:\$ )?(?:sagan|pip|python) .*$", prose(page), re.MULTILINE)


def test_every_file_in_the_map_is_in_its_room() -> None:
    block = text_of(ROOT / "docs" / "architecture.md").partition("```\nsagan/\n")[2]
    entries = re.split(r"^  (?=\w)", block.partition("\nbenchmarks/")[0], flags=re.MULTILINE)
    for entry in entries[1:]:
        room, _, words = entry.partition(" ")
        if room.endswith("/"):
            there = {path.name for path in (ROOT / "sagan" / room).rglob("*.py")}
            assert set(re.findall(r"\b\w+\.py\b", words)) <= there, room


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("mkdocs", "material", "mkdocstrings")),
    reason="the site needs the extra docs: pip install '.[docs]'",
)
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    built = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ, check=False
    )
    assert built.returncode == 0, built.stderr
    loads = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//|<link[^>]*href="(?:https?:)?//'
    )
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page
