"""Keeps NaN and infinity out of the weights: updates with such a loss or gradient are dropped."""

import torch
from torch import Tensor, nn

SKIPS_ON = ("cpu", "cuda")  # where fused Adam honors `found_inf` and skips its update
ADVICE = "try --set precision=float32, lower learning rates, or --set on_nonfinite=skip"


class FiniteGuard:
    """Guards one network's updates, on its device and without waiting for it.

    `check` tests the loss and every gradient. If one is not finite, it sets the flag of the fused
    optimizer that loss scaling uses, and `step` then leaves weights and moments unchanged. Apple's
    kernel ignores the flag: there `step` makes copies first, and takes them back. `report` reads
    the findings, which waits for the device.

    Args:
        name: the network's name, for messages.
        network: the network to guard.
        optimizer: fused Adam over its parameters.

    Attributes:
        found: whether the last check failed, a bool scalar on the device.
        dropped: updates dropped since the last report, a float scalar on the device.
    """

    def __init__(self, name: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.name = name
        self.optimizer = optimizer
        named = list(network.named_parameters())
        self._names = ["the loss", *(f"the gradient of {_layer(name)}" for name, _ in named)]
        self._parameters = [parameter for _, parameter in named]
        device = self._parameters[0].device
        self._optimizer_skips = device.type in SKIPS_ON
        self._zero = torch.zeros((), device=device)
        self.found = torch.zeros((), dtype=torch.bool, device=device)
        self.dropped = torch.zeros((), device=device)
        # The first dropped update since the last report: its step, and which values were bad.
        self._first_step = torch.zeros((), device=device)
        self._first_bad = torch.zeros(len(self._names), dtype=torch.bool, device=device)

    @torch.no_grad()
    def check(self, loss: Tensor, step: int) -> None:
        """Test an update before it is made.

        Args:
            loss: a scalar on the device.
            step: the number of the step, from 1.
        """
        gradients = [p.grad if p.grad is not None else self._zero for p in self._parameters]
        # The largest magnitude is finite if and only if every element is.
        largest = torch._foreach_norm(gradients, float("inf"))
        # 0 * x is 0 if and only if x is finite.
        bad = (0 * torch.stack([loss, *largest])).ne(0)
        # Until an update is dropped, this keeps the latest step, which `report` does not read.
        latest = self.dropped.eq(0)
        self._first_step.masked_fill_(latest, step)
        self._first_bad = torch.where(latest, bad, self._first_bad)
        self.found = bad.any()
        found = self.found.float()
        self.dropped = self.dropped + found
        if self._optimizer_skips:
            self.optimizer.found_inf = found  # type: ignore[attr-defined]

    def step(self) -> None:
        """Do the optimizer's step, which changes nothing if the last check failed."""
        if self._optimizer_skips:
            self.optimizer.step()
            return
        before = {place: t.detach().clone() for place, t in self._changing().items()}
        self.optimizer.step()
        for place, tensor in self._changing().items():
            # Before the first update there are no moments: these begin with 0.
            earlier = before[place] if place in before else torch.zeros_like(tensor)
            with torch.no_grad():
                torch.where(self.found, earlier, tensor, out=tensor)

    def _changing(self) -> dict[tuple[int, str], Tensor]:
        """Return all that the optimizer's step changes: weights and state, by number and name."""
        found: dict[tuple[int, str], Tensor] = {}
        parameters = (p for group in self.optimizer.param_groups for p in group["params"])
        for number, parameter in enumerate(parameters):
            state = {"weight": parameter, **self.optimizer.state.get(parameter, {})}
            found |= {(number, name): tensor for name, tensor in state.items()}
        return found

    def report(self) -> tuple[int, str]:
        """Return how many updates were dropped since the last report, and why the first one was."""
        dropped = int(self.dropped)
        if not dropped:
            return 0, ""
        names = [n for n, bad in zip(self._names, self._first_bad.tolist(), strict=True) if bad]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        reason = f"{self.name}, step {int(self._first_step)}: {names[0]}{more} is not finite"
        self.dropped = torch.zeros_like(self.dropped)
        return dropped, reason


def _layer(name: str) -> str:
    """Return a parameter's name without the suffix that spectral normalization adds."""
    return name.replace("parametrizations.weight.original", "weight")
