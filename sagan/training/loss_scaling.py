"""Loss scaling for float16 (Micikevicius et al. 2018, arXiv 1710.03740).

Gradients of activations are often smaller than 6e-8, the smallest number of float16. So the
backward pass starts from a multiple of the loss, and the gradients of the weights, which are
float32, are divided by the same factor. The factor is as large as overflow permits.

torch's GradScaler does not fit: it looks for overflow itself, gradient by gradient, and lowers the
factor without end. Here `FiniteGuard` has looked already, also at the loss, and has to know when a
lower factor cannot help.
"""

import torch
from torch import Tensor

# Powers of two, so that scaling rounds nothing; the first two and the number are GradScaler's.
INITIAL = 2.0**16
UPDATES_TO_DOUBLE = 2000
LOWEST, HIGHEST = 1.0, 2.0**24


class LossScale:
    """The factor on one network's loss: halved by an overflow, doubled after many updates without.

    Everything stays on the device, and nothing is read until a record or checkpoint is written.

    Args:
        device: where the network trains.

    Attributes:
        factor: a float32 scalar, from `LOWEST` to `HIGHEST`.
    """

    def __init__(self, device: torch.device) -> None:
        self.factor = torch.full((), INITIAL, device=device)
        self._successes = torch.zeros((), device=device)  # since the factor changed

    def unscale_(self, gradients: list[Tensor]) -> None:
        """Divide gradients by the factor, in place."""
        torch._foreach_mul_(gradients, self.factor.reciprocal())

    def is_lowest(self) -> Tensor:
        """Return whether the factor cannot be lowered: a bool scalar."""
        return self.factor.le(LOWEST)

    def update(self, overflow: Tensor) -> None:
        """Change the factor after an update was tested.

        Args:
            overflow: a bool scalar, the same in all processes.
        """
        successes = (self._successes + 1).masked_fill(overflow, 0)
        double = successes.eq(UPDATES_TO_DOUBLE)
        raised = torch.where(double, 2 * self.factor, self.factor)
        self.factor = torch.where(overflow, self.factor / 2, raised).clamp(LOWEST, HIGHEST)
        self._successes = successes.masked_fill(double, 0)

    def state_dict(self) -> dict[str, float]:
        """Return the state as numbers; waits for the device."""
        return {"factor": float(self.factor), "successes": float(self._successes)}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore the state.

        Raises:
            ValueError: a number is out of range.
        """
        factor, successes = float(state["factor"]), float(state["successes"])
        if not (LOWEST <= factor <= HIGHEST and 0 <= successes < UPDATES_TO_DOUBLE):
            raise ValueError(f"a loss cannot be scaled by {factor} after {successes} updates")
        self.factor = torch.full_like(self.factor, factor)
        self._successes = torch.full_like(self._successes, successes)


def loss_scale_for(precision: torch.dtype, device: torch.device) -> LossScale | None:
    """Return the scale that a network's loss needs in this precision: None but in float16."""
    return LossScale(device) if precision == torch.float16 else None
