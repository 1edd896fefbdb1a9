"""The machine's means to train are those that torch sees."""

import subprocess
import sys

import pytest
import torch

from sagan.runtime import device
from sagan.runtime.machine import available_cores, this_machine


def test_the_machine_is_what_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = this_machine()
    assert machine.cores == available_cores() >= 1
    assert machine.has_gpu is torch.accelerator.is_available()
    for native in (True, False):
        monkeypatch.setattr(device, "multiplies_bfloat16", lambda _, native=native: native)
        assert this_machine().has_bfloat16 is native


def test_asking_for_cores_does_not_import_torch() -> None:
    code = "import sys, sagan.runtime.machine; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
