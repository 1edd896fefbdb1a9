"""Adam, and its state as named tensors for a checkpoint."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from sagan.errors import SaganError

_MOMENTS = ("exp_avg", "exp_avg_sq")


class _Adam(torch.optim.Adam):
    """Adam without torch's compiler.

    torch imports it for any optimizer, only to exempt these methods from compilation. That takes
    two seconds of every start. Here they are as they were before torch wrapped them.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        inspect.unwrap(torch.optim.Adam.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        assert set_to_none  # nothing here needs gradients of zero
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return inspect.unwrap(torch.optim.Adam.step)(self, closure)


def adam(network: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Return Adam (Kingma & Ba 2015) over what a network trains, one fused kernel per update."""
    return _Adam(_trained(network).values(), lr=lr, betas=betas, fused=True)


def decay_factor(step: int, steps: int, share: float) -> float:
    """Return the factor of the learning rates at an update: 1, and in the end linearly to 0.

    Args:
        step: updates before this one, below `steps`.
        steps: updates in all.
        share: of the updates, the last, in which the factor falls; 0 for none.
    """
    return min(1.0, (steps - step) / (share * steps)) if share > 0 else 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the following updates."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return both moments and the update count of each parameter: "PARAMETER/exp_avg" and so on."""
    return {
        f"{name}/{key}": value
        for name, parameter in _trained(network).items()
        for key, value in optimizer.state[parameter].items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Restore the state that `optimizer_tensors` returned; before the first update it is empty.

    Raises:
        SaganError: the tensors belong to another network.
    """
    if not tensors:
        return
    for name, parameter in _trained(network).items():
        shapes = {"step": torch.Size(), **dict.fromkeys(_MOMENTS, parameter.shape)}
        saved = {key: tensors[f"{name}/{key}"] for key in shapes if f"{name}/{key}" in tensors}
        if {key: tensor.shape for key, tensor in saved.items()} != shapes:
            raise SaganError(f"the optimizer's state does not fit the network at '{name}'")
        # In the parameter's memory layout, because the fused kernel reads them side by side.
        state = {key: torch.empty_like(parameter).copy_(saved[key]) for key in _MOMENTS}
        optimizer.state[parameter] = {"step": saved["step"].clone().to(parameter.device), **state}


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are not frozen, by name."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}
