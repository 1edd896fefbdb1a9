"""One process agrees with itself; when one of several is gone, the others end in one line."""

import os
import subprocess
import sys

import pytest
import torch
from torch.distributed import DistBackendError

from sagan.errors import SaganError
from sagan.runtime.processes import Consensus, join_processes, make_accelerator, together


def test_processes_that_cannot_meet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As SLURM starts them: numbered for torch, but without what accelerate looks for."""
    join_processes()
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(SaganError, match=r"announces 4 processes, .* found 1: start them with tor"):
        join_processes()


def test_so_are_those_that_are_not_told_where() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "MASTER_ADDR"} | {"WORLD_SIZE": "4"}
    code = "from sagan.runtime.processes import join_processes; join_processes()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "SaganError" in done.stderr
    assert "start them with torchrun" in done.stderr


def test_more_processes_than_gpus_are_refused_unless_the_launcher_wants_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    join_processes()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(SaganError, match="4 processes on a machine with 2 GPUs"):
        join_processes()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert join_processes().device.type == "cpu"


def test_a_launcher_that_wants_to_divide_the_networks_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SaganError, match="choose no FSDP"):
        make_accelerator()


def test_one_process_agrees_with_itself() -> None:
    assert Consensus(1).agree(0, 15, True) == [0, 15, 1]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer"),
        DistBackendError("NCCL error: remote process exited"),
    ],
)
def test_what_the_network_reports_is_one_line(error: RuntimeError) -> None:
    with (
        pytest.raises(SaganError, match=r"another process .* run it again") as told,
        together("run it again"),
    ):
        raise error
    assert str(error) in str(told.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), SaganError("a line")])
def test_what_else_goes_wrong_is_told_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), together("run it again"):
        raise error
