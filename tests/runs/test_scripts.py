"""The scripts in runs/ train what is shipped and published, and still run."""

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from sagan.cli.app import app
from sagan.data import PackedDataset
from sagan.studies import engine
from sagan.studies.request import StudyRequest

ROOT = Path(__file__).parents[2]
COMMANDS: Any = typer.main.get_command(app)
MODELS = ("avatars-64", "cifar10-32", "openmoji-64")
STUDIES = sorted(path.parent.name for path in (ROOT / "docs" / "studies").glob("*/study.json"))
SHORT = ("--steps", "2", "--set", "precision=float32")

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts are bash's")


def script_of(name: str) -> Path:
    return ROOT / "runs" / f"{name}.sh"


def command_of(name: str, command: str) -> list[str]:
    """The words of a script's `sagan train` or `sagan study`, its variables at their defaults."""
    text = script_of(name).read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(rf"^(sagan {command} .*)$", text, re.MULTILINE)
    out = re.findall(r"^out=\$\{OUT:-(.*)\}$", text, re.MULTILINE)
    line = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", line).replace("$@", "")
    return [word for word in shlex.split(line.replace("$out", *out or [""])) if word]


def commands_of(name: str, out: Path, data: Path, *more: str) -> list[list[str]]:
    """The arguments that a script gives to each `sagan` it calls, here a program that keeps them.

    Tests run them in their own process, since each new one would import torch first.
    """
    called, command = out.parent / "called", out.parent / "bin" / "sagan"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" "" >> {shlex.quote(str(called))}\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "DATA": str(data),
        "OUT": str(out),
    }
    ended = subprocess.run(
        [str(script_of(name)), *more],
        env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return [words.split("\0") for words in called.read_text().removesuffix("\0\0").split("\0\0")]


def test_every_script_is_held_by_the_tests_below() -> None:
    names = {path.stem for path in (ROOT / "runs").glob("*.sh")}
    assert names == {*MODELS, *(f"study-{name}" for name in STUDIES)}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_trained_as_its_card_says(name: str) -> None:
    card = (ROOT / "sagan" / "models" / f"{name}.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^    (sagan train .*)$", card, re.MULTILINE)
    assert command_of(name, "train") == shlex.split(recipe)


def requests_of(
    name: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *more: str
) -> list[StudyRequest]:
    """What the script of a study asks for; planning alone would take half a minute."""
    asked: list[StudyRequest] = []
    monkeypatch.setattr(engine, "run_study", lambda request, *_: asked.append(request))
    for words in commands_of(f"study-{name}", tmp_path / "out", Path(data), *more):
        COMMANDS.main(words, standalone_mode=False)
    return asked


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_run_as_it_was_published(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("docs") / "studies" / name
    study = json.loads((ROOT / folder / "study.json").read_text())
    asked = requests_of(name, study["data"]["source"], tmp_path, monkeypatch)
    commands = [replace(one, out=folder).command() for one in asked]
    # A plan is published before the runs.
    assert study["commands"] == commands[: len(study["commands"])]


@pytest.mark.usefixtures("few_emoji", "no_images")
@pytest.mark.parametrize("name", MODELS)
def test_two_steps_of_a_model_end_in_a_model_file(
    name: str, labeled: PackedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    # Small maps are quick where bfloat16 is missing; what is held is that the script runs.
    small = ("--set", "channels_g=8", "--set", "channels_d=8", *SHORT)
    monkeypatch.chdir(ROOT)  # as the script
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))
    for words in commands_of(name, out, Path(labeled.source), *small):
        COMMANDS.main(words, standalone_mode=False)
    assert out.with_suffix(".safetensors").stat().st_size > 0


@pytest.mark.parametrize("name", STUDIES)
def test_the_script_of_a_study_passes_options_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked in requests_of(name, "photos", tmp_path, monkeypatch, *SHORT):
        assert asked.steps == 2
        assert asked.settings["precision"] == "float32"  # what is given last counts
