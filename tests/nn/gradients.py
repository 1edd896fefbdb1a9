"""Comparison of the gradients of two ways to compute the same."""

from collections.abc import Sequence

import torch
from torch import Tensor


def assert_same_gradients(actual: Tensor, expected: Tensor, inputs: Sequence[Tensor]) -> None:
    """Assert that two results (of one shape) give all inputs equal gradients, to rounding."""
    upstream = torch.randn_like(expected)
    for found, truth in zip(
        torch.autograd.grad(actual, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(found, truth)
