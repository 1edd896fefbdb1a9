"""Kernels that give the same bits each time, at the price of speed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# cuBLAS gives the same bits each time only with a workspace of a fixed size (its documentation,
# "Results reproducibility"), and torch refuses to compute without.
_WORKSPACE, _WORKSPACE_SIZE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"


@contextmanager
def deterministic_kernels(enabled: bool = True) -> Iterator[None]:
    """Let torch use kernels that give the same bits each time within the context.

    CPUs do so anyway. On a GPU, operations without such a kernel raise RuntimeError, and cuDNN
    chooses its kernels without timing them. The caller's settings are restored on exit.

    Args:
        enabled: whether to do anything, as in `torch.autocast`.
    """
    if not enabled:
        yield
        return
    os.environ.setdefault(_WORKSPACE, _WORKSPACE_SIZE)  # read when cuBLAS is first used
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    filled: Any = torch.utils.deterministic  # its type stubs lack the switch
    before = cudnn.deterministic, cudnn.benchmark, filled.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    # Nothing here reads memory that was not written.
    filled.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        cudnn.deterministic, cudnn.benchmark, filled.fill_uninitialized_memory = before
