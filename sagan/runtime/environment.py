"""The software and hardware behind a result or a run, as recorded in environment.json."""

import platform
import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import torch
from accelerate import Accelerator

from sagan._version import __version__


def describe_environment(*packages: str) -> dict[str, str | int]:
    """Return the versions of sagan, torch and Python, and the hardware that torch computes with.

    Args:
        packages: further packages whose versions to include.
    """
    return {
        "sagan": __version__,
        "torch": torch.__version__,
        **{name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": torch.get_num_threads(),
    }


# The entries of `describe_training` that a run's bits depend on.
_DECIDES_BITS = ("torch", "device", "cpu_capability", "threads", "processes", "precision")


def describe_training(accelerator: Accelerator, precision: torch.dtype) -> dict[str, Any]:
    """Return what a run's bits depend on, besides its configuration."""
    device = accelerator.device
    return {
        **describe_environment(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": accelerator.num_processes,
        "precision": str(precision).removeprefix("torch."),
    }


def warn_of_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn that a run resumes in another environment, which changes its bits from there on."""
    changes = [
        f"{key} was {before[key]} and is now {now[key]}"
        for key in _DECIDES_BITS
        if key in before and before[key] != now[key]
    ]
    if changes:
        warnings.warn(
            f"the run resumes, but not with the bits it would have had: {'; '.join(changes)}",
            stacklevel=2,
        )
