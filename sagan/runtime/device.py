"""Which device computes: the one place that decides."""

import re

import torch
from accelerate.utils import parse_flag_from_env

from sagan.errors import SaganError

CPU = torch.device("cpu")
DEVICES = ("cpu", "cuda", "mps")


def choose_device(name: str | None = None) -> torch.device:
    """Return the device of this name or, without one, this machine's best.

    Args:
        name: one of `DEVICES`; None for the accelerator if there is one, else the CPU.
            `accelerate launch --cpu` makes it the CPU.

    Raises:
        SaganError: the device is unknown, or not available on this machine.
    """
    if name is not None and name not in DEVICES:
        raise SaganError(f"unknown device '{name}': choose {_listed(DEVICES)}")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name is None:
        refused = parse_flag_from_env("ACCELERATE_USE_CPU")
        return CPU if refused else accelerator or CPU
    available = ["cpu", accelerator.type] if accelerator is not None else ["cpu"]
    if name not in available:
        raise SaganError(
            f"device '{name}' is not available on this machine: choose {_listed(available)}"
        )
    return torch.device(name)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 natively, and so faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def has_float16_cores(device: torch.device) -> bool:
    """Return whether a GPU has tensor cores, which multiply float16 several times as fast."""
    if device.type != "cuda":
        return False
    capability = torch.cuda.get_device_capability(device)
    if capability != (7, 5):
        return capability >= (7, 0)
    # Of Turing's GPUs, those called GTX and some small ones have none; only names tell.
    return re.search(r"\b(RTX|T4G?)\b", torch.cuda.get_device_name(device)) is not None


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
