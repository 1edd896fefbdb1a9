"""Without optional libraries, each command that needs one says in one line how to install it."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sagan.runtime.extras import HEIC, HUB, METRICS, ONNX
from sagan.training.trackers import KINDS

LIBRARIES = [name for extra in (HEIC, HUB, METRICS, ONNX) for name in extra.libraries]
# What only comes with these, and what trackers need.
MISSING = [*LIBRARIES, *KINDS, "pyarrow", "pandas", "torchvision", "joblib"]

# Runs commands, one after the other, in a process that cannot import the libraries.
PROGRAM = """
import contextlib, io, json, sys
missing, commands = json.loads(sys.stdin.read())
sys.modules.update(dict.fromkeys(missing))
from sagan.cli import main
for arguments in commands:
    out, err, status = io.StringIO(), io.StringIO(), 0
    sys.argv = ["sagan", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            status = repr(error)
    print(json.dumps([status, err.getvalue()]))
"""

TRAIN = "train --data photos --out run --preset smoke --steps 1"
NEEDED = {
    "evaluate openmoji-64 --data photos": "'.[metrics]'",
    "evaluate photos --data photos --features cifar-judge --metrics parts": "'.[metrics]'",
    "evaluate photos --data photos --features dinov2": "'.[metrics]'",
    "study attention --data photos --out study --jobs 1": "'.[metrics]'",
    "study spectral-norm --data photos --out study --dry-run --jobs 1": "'.[metrics]'",
    "export openmoji-64 file.onnx": "'.[onnx]'",
    "export openmoji-64 file.onnx --discriminator --maps --half": "'.[onnx]'",
    "explore openmoji-64 --static site": "'.[onnx]'",
    "data info photos.parquet": "'.[hub]'",
    "data info photos.arrow": "'.[hub]'",
    "data pack photos.tar packed --size 32": "'.[hub]'",
    "train --data hf:anna/birds --out run": "'.[hub]'",
    "evaluate hf:anna/birds --data photos": "'.[metrics]'",
    "data info heic": "'.[heic]'",
    "train --data heic --out run": "'.[heic]'",
    **{f"{TRAIN} --track {name}": f"pip install {name}" for name in KINDS},
}
NOT_NEEDED = [
    "inspect openmoji-64",
    "presets cpu-32 --yaml",
    "data info photos --sheet sheet.png",
    "sample openmoji-64 --num 1 --out sample.png",
    "explain openmoji-64 --num 1 --dots 1 --out attention.svg",
]


@pytest.fixture(scope="module")
def ended(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """{command: [exit status, standard error]}."""
    folder = tmp_path_factory.mktemp("without-extras")
    (folder / "photos").symlink_to(pictures)
    (folder / "heic").mkdir()
    (folder / "heic" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    for ending in ("parquet", "arrow"):
        (folder / f"photos.{ending}").write_bytes(b"PAR1")
    with tarfile.open(folder / "photos.tar", "w") as archive:
        archive.add(pictures / "0.png", "0.png")
        label = tarfile.TarInfo("0.cls")
        label.size = 1
        archive.addfile(label, io.BytesIO(b"0"))
    commands = [*NEEDED, *NOT_NEEDED]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([MISSING, [command.split() for command in commands]]),
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = map(json.loads, done.stdout.splitlines())
    return dict(zip(commands, results, strict=True))


@pytest.mark.parametrize("command", NEEDED)
def test_a_command_says_in_one_line_what_to_install(
    command: str, ended: dict[str, list[Any]]
) -> None:
    status, err = ended[command]
    assert status == 2, err
    assert NEEDED[command] in err
    assert err.startswith("sagan: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", NOT_NEEDED)
def test_other_commands_work_without_any_extra(command: str, ended: dict[str, list[Any]]) -> None:
    assert ended[command][0] == 0, ended[command][1]
