"""The machine that a run is trained on: what it computes with, recorded in environment.json."""

import platform
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator

import sagan
from sagan.errors import SaganError

# What the bits of a run depend on, of that which describe_environment tells.
_DECIDES_BITS = ("torch", "device", "cpu_capability", "threads", "processes", "precision")


def runs_on_cpu() -> bool:
    """Whether this machine has no GPU or the like; launchers then start processes with gloo."""
    return not torch.accelerator.is_available()


def resolve_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype of convolutions and matrix products: "auto", "float32" or "bfloat16".

    "auto" takes bfloat16 where the processor multiplies it natively, else float32.

    Raises:
        SaganError: bfloat16 on a processor where it would be slower than float32.
    """
    native = _multiplies_bfloat16(device)
    if wanted == "bfloat16" and not native:
        raise SaganError(
            f"this {device.type} has no native bfloat16, which would only make it slower: "
            "use --set precision=float32"
        )
    return torch.bfloat16 if native and wanted != "float32" else torch.float32


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def describe_environment(accelerator: Accelerator, precision: torch.dtype) -> dict[str, Any]:
    """Versions, processor and precision: what a run's bits depend on besides its configuration."""
    device = accelerator.device
    return {
        "sagan": sagan.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": accelerator.num_processes,
        "precision": str(precision).removeprefix("torch."),
    }


def warn_of_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Say that a run goes on with other bits than it would have had where it began."""
    changes = [
        f"{key} was {before[key]} and is now {now[key]}"
        for key in _DECIDES_BITS
        if key in before and before[key] != now[key]
    ]
    if changes:
        warnings.warn(
            f"the run goes on, but not with the bits it would have had: {'; '.join(changes)}",
            stacklevel=2,
        )
