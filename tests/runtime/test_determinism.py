"""Deterministic kernels are asked for within a context, and only there."""

import os
from typing import Any

import pytest
import torch

from sagan.runtime.determinism import deterministic_kernels

FILLED: Any = torch.utils.deterministic


def settings() -> tuple[bool, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        FILLED.fill_uninitialized_memory,
    )


@pytest.mark.parametrize("warn_only", [False, True])
def test_the_callers_settings_are_replaced_and_then_restored(
    warn_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    torch.use_deterministic_algorithms(warn_only, warn_only=warn_only)
    before = settings()
    try:
        with deterministic_kernels():
            assert settings() == (True, False, True, False, False)
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert settings() == before
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_workspace_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with deterministic_kernels():
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_without_being_enabled_it_changes_nothing() -> None:
    before = settings()
    with deterministic_kernels(enabled=False):
        assert settings() == before
