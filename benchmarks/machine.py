"""The machine and versions behind a figure."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import torch

import sagan

ROOT = Path(__file__).parent.parent


def describe_machine() -> dict[str, object]:
    """Return machine, versions and commit."""
    capabilities = torch.cpu.get_capabilities()
    names = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16")
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "sagan": sagan.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "instructions": [name for name in names if capabilities.get(name)],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def commit() -> str:
    """Return this checkout's commit, with "+" if files differ from it; "" outside git."""
    git = ["git", "-C", str(ROOT)]
    try:
        name = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "sagan", "benchmarks"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return name + ("+" if changed else "")


def processor() -> str:
    """Return the processor's name as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def has_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 natively."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
