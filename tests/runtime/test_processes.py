"""Processes that cannot meet are refused, and when one is lost, the others end in one line."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import PartialState
from torch.distributed import DistBackendError

from sagan.errors import SaganError
from sagan.runtime.processes import (
    Processes,
    join_processes,
    make_accelerator,
    report_lost_processes,
)


def test_processes_that_cannot_meet_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As started by SLURM: numbered for torch, but without the variables accelerate needs."""
    join_processes()
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(SaganError, match=r"announces 4 processes, .* found 1: start them with tor"):
        join_processes()


def test_processes_without_an_address_are_refused(start_python: Callable[..., Any]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "MASTER_ADDR"} | {"WORLD_SIZE": "4"}
    code = "from sagan.runtime.processes import join_processes; join_processes()"
    _, err = start_python(["-c", code], environment).communicate()
    assert "SaganError" in err
    assert "start them with torchrun" in err


def test_more_processes_than_gpus_are_refused_unless_the_launcher_chose_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PartialState, "_shared_state", {})  # as in a new process
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: gpu)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(SaganError, match="4 processes on a machine with 2 GPUs"):
        join_processes()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert join_processes().device.type == "cpu"


def test_a_launcher_that_would_divide_the_networks_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SaganError, match="choose no FSDP"):
        make_accelerator()


def test_the_maximum_over_a_single_process_is_its_own_value() -> None:
    assert Processes(1).all_reduce_max(0, 15, True) == [0, 15, 1]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer"),
        DistBackendError("NCCL error: remote process exited"),
    ],
)
def test_a_lost_process_is_reported_in_one_line_with_the_networks_message(
    error: RuntimeError,
) -> None:
    with (
        pytest.raises(SaganError, match=r"another process .* run it again") as caught,
        report_lost_processes("run it again"),
    ):
        raise error
    assert str(error) in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), SaganError("a line")])
def test_other_errors_pass_through_unchanged(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), report_lost_processes("run it again"):
        raise error
