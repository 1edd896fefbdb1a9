"""The software and the machine that a number comes from."""

import platform
from importlib import metadata

import torch

import sagan


def describe_environment(*packages: str) -> dict[str, str | int]:
    """Versions, of more packages if asked for, and what torch computes with."""
    return {
        "sagan": sagan.__version__,
        "torch": torch.__version__,
        **{name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": torch.get_num_threads(),
    }
