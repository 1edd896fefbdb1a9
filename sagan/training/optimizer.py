"""Adam, and its state as named tensors for a checkpoint."""

import torch
from torch import Tensor, nn

from sagan.errors import SaganError

_MOMENTS = ("exp_avg", "exp_avg_sq")


def adam(network: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Return Adam (Kingma & Ba 2015) over a network's parameters, one fused kernel per update."""
    return torch.optim.Adam(network.parameters(), lr=lr, betas=betas, fused=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return both moments and the update count of each parameter: "PARAMETER/exp_avg" and so on."""
    return {
        f"{name}/{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Restore the state that `optimizer_tensors` returned.

    Raises:
        SaganError: the tensors belong to another network.
    """
    for name, parameter in network.named_parameters():
        shapes = {"step": torch.Size(), **dict.fromkeys(_MOMENTS, parameter.shape)}
        saved = {key: tensors[f"{name}/{key}"] for key in shapes if f"{name}/{key}" in tensors}
        if {key: tensor.shape for key, tensor in saved.items()} != shapes:
            raise SaganError(f"the optimizer's state does not fit the network at '{name}'")
        # In the parameter's memory layout, because the fused kernel reads them side by side.
        state = {key: torch.empty_like(parameter).copy_(saved[key]) for key in _MOMENTS}
        optimizer.state[parameter] = {"step": saved["step"].clone().to(parameter.device), **state}
