"""The device that networks run on."""

import torch


def default_device() -> torch.device:
    """The GPU or the like of this machine, else its processor."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
