"""What a command does not use, it does not import: each of these would take a second or two."""

import subprocess
import sys
from pathlib import Path

from sagan.data import PackedDataset

# torch imports the first two for its optimizers and for some operations on meta tensors, accelerate
# the third to prepare a model.
SLOW = {"torch._dynamo", "sympy", "torch.distributed.tensor", "pandas", "scipy", "sklearn"}
COMMANDS = """
import sys
from sagan.cli import main

def carry_out(*words):
    sys.argv = ["sagan", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
    found = set(sys.modules) & SLOW
    assert not found, (words[0], found)

data, run, samples = sys.argv[1:]
small = ("--set", "channels_g=8", "--set", "channels_d=8", "--steps", "2")
carry_out("train", "--data", data, "--out", run, "--preset", "smoke", *small)
carry_out("sample", run, "--out", samples)
"""


def test_training_and_sampling_import_neither_torchs_compiler_nor_sympy(
    unlabeled: PackedDataset, tmp_path: Path
) -> None:
    arguments = (unlabeled.path, tmp_path / "run", tmp_path / "samples.png")
    code = COMMANDS.replace("SLOW", repr(SLOW))
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)
    assert (tmp_path / "samples.png").is_file()
