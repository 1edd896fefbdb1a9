"""The paper's control for self-attention: a residual block in its place, as large or as costly.

Zhang et al. 2018 (arXiv 1805.08318, section 5.2, table 1) ask whether attention helps because it is
attention, or because it adds depth and parameters. They do not describe the block. This one is a
bottleneck (He et al. 2016) as wide as the parameters allow. A gamma scales it, which starts at 0
like attention's, so that a network with either starts as the same function.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.nn.precision import times_scalar


class ResidualControl2d(nn.Module):
    """y = x + gamma * F(x), F: ReLU, 1x1 to h channels, ReLU, 3x3, ReLU, 1x1 back to C; no biases.

    Args:
        channels: C of the input and the output.
        parameters: how many to have; h, at most C, is chosen so that 2 C h + 9 h^2 + 1 comes
            nearest. As each weight is multiplied once at each position, it is also the number of
            multiplications by position.
    """

    def __init__(self, channels: int, parameters: int) -> None:
        super().__init__()
        width = _bottleneck(channels, parameters)
        self.reduce = nn.Conv2d(channels, width, kernel_size=1, bias=False)
        self.convolve = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.expand = nn.Conv2d(width, channels, kernel_size=1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> y (B, C, H, W)."""
        h = F.relu(self.reduce(F.relu(x)), inplace=True)  # (B, h, H, W)
        h = self.expand(F.relu(self.convolve(h), inplace=True))  # (B, C, H, W)
        return x + times_scalar(h, self.gamma)


def _bottleneck(channels: int, parameters: int) -> int:
    """Return the width h, at least 1, that brings the block's parameters nearest to a number."""
    return min(
        range(1, channels + 1), key=lambda h: abs(2 * channels * h + 9 * h * h + 1 - parameters)
    )
