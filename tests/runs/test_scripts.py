"""The scripts in runs/ train what is shipped and published, and still run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sagan.data import PackedDataset

ROOT = Path(__file__).parents[2]
MODELS = ("cifar10-32", "openmoji-64")
STUDIES = ("attention", "spectral-norm", "discriminator")

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


RUN = "from sagan.cli import main; main()"
PRINT_REQUEST = f"""
from unittest import mock
from sagan.studies import engine
with mock.patch.object(engine, "run_study", lambda request, *_: print(request)):
    {RUN}
"""


def run_script(name: str, out: Path, data: Path, *more: str, run: str = RUN) -> str:
    """A script's output, where the command `sagan` is this Python program."""
    commands = out.parent / "bin"
    commands.mkdir()
    command = commands / "sagan"
    command.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(run)} "$@"\n'
    )
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DATA": str(data),
        "OUT": str(out),
    }
    ended = subprocess.run(
        [str(script_of(name)), "--steps", "2", "--set", "precision=float32", *more],
        env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_script_is_held_by_the_tests_below() -> None:
    names = {path.stem for path in (ROOT / "runs").glob("*.sh")}
    assert names == {*MODELS, *(f"study-{name}" for name in STUDIES)}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_trained_as_its_card_says(name: str) -> None:
    card = (ROOT / "sagan" / "models" / f"{name}.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^    (sagan train .*)$", card, re.MULTILINE)
    assert command_of(name, "train") == shlex.split(recipe)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_run_as_it_was_published(name: str) -> None:
    study = json.loads((ROOT / "docs" / "studies" / name / "study.json").read_text())
    (published,) = map(shlex.split, study["commands"])
    words = command_of(f"study-{name}", "study")
    words[words.index("--out") + 1] = f"docs/studies/{name}"
    # The record also names the preset, which is the default.
    assert sorted([*words, "--preset", "classic-32"]) == sorted(published)


@pytest.mark.parametrize("name", MODELS)
def test_two_steps_of_a_model_end_in_a_model_file(
    name: str, labeled: PackedDataset, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    # Small maps are quick where bfloat16 is missing; what is held is that the script runs.
    run_script(name, out, labeled.path, "--set", "channels_g=8", "--set", "channels_d=8")
    assert out.with_suffix(".safetensors").stat().st_size > 0


@pytest.mark.parametrize("name", STUDIES)
def test_the_script_of_a_study_asks_for_what_it_says(name: str, tmp_path: Path) -> None:
    # What is asked for is printed instead: planning alone takes half a minute.
    printed = run_script(f"study-{name}", tmp_path / "out", tmp_path, run=PRINT_REQUEST)
    assert f"'{name}'" in printed
    assert "steps=2" in printed
    assert "'precision': 'float32'" in printed  # what is given last counts
