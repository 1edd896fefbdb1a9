"""What a command does not use, it does not import: each of these would take a second or two."""

import subprocess
import sys
from pathlib import Path

from sagan.data import PackedDataset

# torch imports the first two for its optimizers and for some operations on meta tensors, accelerate
# the third to prepare a model.
SLOW = {"torch._dynamo", "sympy", "torch.distributed.tensor", "pandas", "scipy", "sklearn"}
COMMAND = """
import sys
from sagan.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
found = set(sys.modules) & SLOW
assert not found, found
"""


def check(*arguments: object) -> None:
    code = COMMAND.replace("SLOW", repr(SLOW))
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


def test_training_and_sampling_import_neither_torchs_compiler_nor_sympy(
    unlabeled: PackedDataset, tmp_path: Path
) -> None:
    settings = ("steps=2", "channels_g=8", "channels_d=8", "sample_every=2")
    chosen = [word for setting in settings for word in ("--set", setting)]
    run = tmp_path / "run"
    check("train", "--data", unlabeled.path, "--out", run, "--preset", "smoke", *chosen)
    check("sample", run, "--out", tmp_path / "samples.png")
