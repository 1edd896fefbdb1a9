"""The device is the requested one, or this machine's best, or a line says why not."""

import pytest
import torch
from accelerate import PartialState

from sagan.errors import SaganError
from sagan.runtime.device import choose_device
from sagan.runtime.processes import join_processes


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU, as far as torch says, on which no process has computed yet."""
    device = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: device)
    monkeypatch.setattr(PartialState, "_shared_state", {})


@pytest.mark.usefixtures("gpu")
def test_a_gpu_is_taken_unless_the_cpu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device().type == "cuda"
    assert choose_device("cuda").type == "cuda"
    assert choose_device("cpu").type == "cpu"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # accelerate launch --cpu
    assert choose_device().type == "cpu"


def test_without_an_accelerator_the_cpu_is_taken_and_others_are_refused() -> None:
    assert choose_device().type == "cpu"
    for name in ("cuda", "mps"):
        with pytest.raises(SaganError, match=f"'{name}' is not available .* choose cpu$"):
            choose_device(name)


@pytest.mark.usefixtures("gpu")
def test_an_unknown_device_and_one_of_another_machine_are_refused() -> None:
    with pytest.raises(SaganError, match="unknown device 'gpu': choose cpu, cuda or mps"):
        choose_device("gpu")
    with pytest.raises(SaganError, match=r"'mps' is not available .* choose cpu or cuda"):
        choose_device("mps")


@pytest.mark.usefixtures("gpu")
def test_the_first_call_decides_where_all_processes_compute() -> None:
    assert join_processes("cpu").device.type == "cpu"
    assert PartialState()._cpu  # so that accelerate leaves the GPU alone
    assert join_processes().device.type == "cpu"
    with pytest.raises(SaganError, match=r"cannot compute on 'cuda': .* set up for 'cpu'"):
        join_processes("cuda")
