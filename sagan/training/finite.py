"""Keeps NaN and infinity out of the weights: updates with such a loss or gradient are dropped."""

import torch
from torch import Tensor, nn

from sagan.training.loss_scaling import LossScale

SKIPS_ON = ("cpu", "cuda")  # where fused Adam honors `found_inf` and skips its update
NORM_SCALE = 1e-25  # so that 2^38 squares of the largest float32 have a finite sum
ADVICE = "try --set precision=float32, lower learning rates, or --set on_nonfinite=skip"


class FiniteGuard:
    """Guards one network's updates, on its device and without waiting for it.

    `check` tests the loss and every gradient. If one is not finite, it sets the flag of the fused
    optimizer that loss scaling uses, and `step` then leaves weights and moments unchanged. Apple's
    kernel ignores the flag: there `step` makes copies first, and takes them back. `report` reads
    the findings, which waits for the device.

    With a loss scale, which float16 needs, values that are not finite are a fault only if the scale
    cannot be lowered. Until then they are overflow: the update is dropped and the scale halved.

    Args:
        name: the network's name, for messages.
        network: the network to guard.
        optimizer: fused Adam over its parameters.
        loss_scale: what `scaled` multiplies losses by; None for 1.

    Attributes:
        found: whether the last check failed, a bool scalar on the device.
        dropped: updates dropped since the last fault was reported, a float scalar on the device.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_scale: LossScale | None = None,
    ) -> None:
        self.name = name
        self.optimizer = optimizer
        self.loss_scale = loss_scale
        named = list(network.named_parameters())
        self._names = ["the loss", *(f"the gradient of {_layer(name)}" for name, _ in named)]
        self._parameters = [parameter for _, parameter in named]
        device = self._parameters[0].device
        self._optimizer_skips = device.type in SKIPS_ON
        self._zero = torch.zeros((), device=device)
        self.found = torch.zeros((), dtype=torch.bool, device=device)
        self.dropped = torch.zeros((), device=device)
        self._faults = self.dropped  # those of the dropped updates that are reported
        # The first fault since the last report: its step, and which values were bad.
        self._first_step = torch.zeros((), device=device)
        self._first_bad = torch.zeros(len(self._names), dtype=torch.bool, device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """Return what to call `backward` of: the loss, multiplied by the scale if there is one."""
        return self.loss_scale.factor * loss if self.loss_scale is not None else loss

    @torch.no_grad()
    def check(self, loss: Tensor, step: int) -> None:
        """Test an update before it is made; first unscale its gradients.

        Args:
            loss: a scalar on the device, as it was before `scaled`.
            step: the number of the step, from 1.
        """
        if self.loss_scale is not None:
            self.loss_scale.unscale_([p.grad for p in self._parameters if p.grad is not None])
        gradients = [p.grad if p.grad is not None else self._zero for p in self._parameters]
        # A norm is finite if and only if every element is, once squares cannot overflow. (The
        # largest magnitude needs no scaling, but takes a CPU several times as long.)
        norms = torch._foreach_norm(torch._foreach_mul(gradients, NORM_SCALE))
        # 0 * x is 0 if and only if x is finite.
        bad = (0 * torch.stack([loss, *norms])).ne(0)
        # Until there is a fault, this keeps the latest step, which `report` does not read.
        latest = self._faults.eq(0)
        self._first_step.masked_fill_(latest, step)
        self._first_bad = torch.where(latest, bad, self._first_bad)
        self.found = bad.any()
        found = self.found.float()
        self.dropped = self.dropped + found
        if self.loss_scale is not None:
            self._faults = self._faults + found * self.loss_scale.is_lowest()
            self.loss_scale.update(self.found)
        else:
            self._faults = self.dropped
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
        """Return the number of faults since the last report, and the reason for the first one."""
        faults = int(self._faults)
        if not faults:
            return 0, ""
        names = [n for n, bad in zip(self._names, self._first_bad.tolist(), strict=True) if bad]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        reason = f"{self.name}, step {int(self._first_step)}: {names[0]}{more} is not finite"
        self.dropped = self._faults = torch.zeros_like(self.dropped)
        return faults, reason


def _layer(name: str) -> str:
    """Return a parameter's name without the suffix that spectral normalization adds."""
    return name.replace("parametrizations.weight.original", "weight")
