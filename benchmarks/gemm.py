"""The machine's peak: the rate of square matrix products."""

from functools import partial

import torch

from benchmarks.timing import seconds

SIDES = (1024, 2048, 3072, 4096)


class Peak:
    """The best rate of C = A B so far in one precision, over `SIDES`."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.flops_per_second = 0.0
        self.side = 0

    def measure(self) -> None:
        """Measure every side once more, small ones several times."""
        for side in SIDES:
            a = torch.randn(side, side).to(self.dtype)
            b = torch.randn(side, side).to(self.dtype)
            out = torch.empty_like(a)
            torch.mm(a, b, out=out)
            for _ in range(max(1, 4 * 1024 // side)):
                rate = 2 * side**3 / seconds(partial(torch.mm, a, b, out=out))
                if rate > self.flops_per_second:
                    self.flops_per_second, self.side = rate, side
