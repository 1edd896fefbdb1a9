"""Numbers gone wrong: a loss or gradient that is not finite never reaches the weights."""

import torch
from torch import Tensor, nn

HEEDED_ON = ("cpu", "cuda")  # where fused Adam leaves everything as it is if it is told to
ADVICE = "try --set precision=float32, lower learning rates, or --set on_nonfinite=skip"


class FiniteGuard:
    """Watches one network's updates, on its device and without waiting for it.

    `check` looks at the loss and at every gradient. Where one is not finite it tells the
    fused optimizer, through the same flag that loss scaling uses, to leave weights and moments as
    they are in `step`. Apple's kernel does not heed the flag: there each step waits for it.
    `report` reads what was seen, which waits for the device.

    Args:
        name: of the network, for messages.
        network: its parameters are watched.
        optimizer: fused Adam over the same parameters.

    Attributes:
        dropped: updates left out since the last report, a float scalar on the device.
    """

    def __init__(self, name: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.name = name
        self.optimizer = optimizer
        named = list(network.named_parameters())
        self._names = ["the loss", *(f"the gradient of {_layer(name)}" for name, _ in named)]
        self._parameters = [parameter for _, parameter in named]
        device = self._parameters[0].device
        self._heeded = device.type in HEEDED_ON
        self.dropped = torch.zeros((), device=device)  # updates since the last report
        self._first_step = torch.zeros((), device=device)  # of those
        self._first_bad = torch.zeros(len(self._names), dtype=torch.bool, device=device)

    @torch.no_grad()
    def check(self, loss: Tensor, step: int) -> None:
        """Look before the optimizer's step: `loss` a scalar, `step` counted from 1."""
        none = torch.zeros((), device=loss.device)
        gradients = [none if p.grad is None else p.grad for p in self._parameters]
        # The largest magnitude is finite if and only if every element is.
        largest = torch._foreach_norm(gradients, float("inf"))
        sizes = torch.stack([loss, *largest])
        bad = ~sizes.isfinite()
        any_bad = bad.any()
        first = any_bad & (self.dropped == 0)
        self._first_step = torch.where(first, float(step), self._first_step)
        self._first_bad = torch.where(first, bad, self._first_bad)
        self.dropped = self.dropped + any_bad
        self.optimizer.found_inf = any_bad.float()  # type: ignore[attr-defined]

    def step(self) -> None:
        """The optimizer's step, which changes nothing where the last check found something."""
        if self._heeded or not self.optimizer.found_inf:  # type: ignore[attr-defined]
            self.optimizer.step()

    def report(self) -> tuple[int, str]:
        """How many updates were dropped since the last report, and what was seen in the first."""
        dropped = int(self.dropped)
        if not dropped:
            return 0, ""
        names = [n for n, bad in zip(self._names, self._first_bad.tolist(), strict=True) if bad]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        told = f"{self.name}, step {int(self._first_step)}: {names[0]}{more} is not finite"
        self.dropped = torch.zeros_like(self.dropped)
        return dropped, told


def _layer(name: str) -> str:
    """A parameter's name without the traces of spectral normalization."""
    return name.replace("parametrizations.weight.original", "weight")
