"""The page on clusters: its job files work as far as stand-ins go, and its messages exist."""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from sagan.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
COMMANDS: Any = typer.main.get_command(app)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def containers(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        yield from document.get("containers", [])
        for value in document.values():
            yield from containers(value)


def test_every_training_of_the_page_has_options_that_sagan_takes() -> None:
    known = {option for p in COMMANDS.commands["train"].params for option in p.opts}
    manifests = [
        " ".join([*container["command"], *container["args"]])
        for block in blocks("yaml")
        for document in yaml.safe_load_all(block)
        for container in containers(document)
    ]
    texts = [re.sub(r"\s*\\\n\s*", " ", text) for text in [*blocks("sh"), *blocks("bash")]]
    trainings = [
        match[1] for text in [*texts, *manifests] for match in re.finditer("sagan train (.*)", text)
    ]
    assert len(manifests) == 2
    assert len(trainings) == 7
    for training in trainings:
        options = set(re.findall(r"--[a-z-]+", training.partition("#")[0]))
        assert options <= known, training
        assert {"--data", "--out"} <= options


def test_every_message_of_the_page_is_one_that_sagan_prints() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "sagan").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # messages of several lines
    table = PAGE.partition("## What a failure prints")[2]
    messages = re.findall(r"^\| [^|]+ \| `([^`]+)`", table, re.MULTILINE)
    assert len(messages) == 10
    for message in messages:
        # What stands between the values of this example.
        for words in re.split(r"'[^']*'|\d+|: .* on rank .*|\.\.\.|No space.*", message):
            assert words.strip(" :") in code, message


STAND_INS = {
    "scontrol": """
if [ "$1" = show ]; then printf 'node1\\nnode2\\n'; else echo "$@" > requeued; fi
""",
    "srun": """
echo "$@" > srun-arguments
sh -c 'trap "sleep 0.3; echo saved > saved; exit 143" TERM
touch trains; while :; do sleep 0.05; done' &
echo $! > task
wait
""",
    "scancel": """
echo "$@" > scancel-arguments
kill -TERM "$(cat task)"
""",
}


@pytest.mark.skipif(sys.platform == "win32", reason="SLURM runs on Linux")
def test_the_sbatch_file_ends_the_training_and_queues_it_again(tmp_path: Path) -> None:
    (script,) = blocks("bash")
    (tmp_path / "job.sh").write_text(script)
    for name, code in STAND_INS.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{code}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    variables = {"SLURM_JOB_ID": "77", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[1-2]"}
    job = subprocess.Popen(
        ["bash", "job.sh"], cwd=tmp_path,
        env={**os.environ, **variables, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (tmp_path / "trains").exists() and time.monotonic() < until:
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 0
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"
    assert (tmp_path / "scancel-arguments").read_text() == "--signal=TERM 77\n"
    started = (tmp_path / "srun-arguments").read_text()
    assert "torchrun --nnodes 2 --nproc-per-node 8 --rdzv-id 77" in started
    assert "--rdzv-endpoint node1:29500 -m sagan train" in started
