"""The device that networks run on."""

import torch


def default_device() -> torch.device:
    """Return this machine's accelerator, such as a GPU, or else its CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
