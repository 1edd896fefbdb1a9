"""Spectral normalization of all weights of a network at once, in a few batched operations.

Weights are copied as matrices into stacks of one size each, so that one batched product serves many
of them. Smaller matrices lie in the upper left corner, with zeros around, which change neither
products nor norms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sagan.nn.precision import without_autocast

# The most zeros that are added to the matrices of a network, as a share of its entries.
PADDING = 1 / 5


@dataclass(frozen=True)
class Stack:
    """Which matrices share a stack, by number, and its rows and columns: the most of any."""

    members: tuple[int, ...]
    rows: int
    columns: int

    @property
    def entries(self) -> int:
        return len(self.members) * self.rows * self.columns

    def merged(self, other: "Stack") -> "Stack":
        members = self.members + other.members
        return Stack(members, max(self.rows, other.rows), max(self.columns, other.columns))


@cache
def plan_stacks(shapes: tuple[tuple[int, int], ...]) -> tuple[Stack, ...]:
    """Distribute matrices of these shapes, (rows, columns), over few stacks.

    The two stacks that need the fewest zeros together are merged, again and again, as long as all
    zeros stay within `PADDING`. Matrices of the same shape need none.
    """
    stacks = [
        Stack(tuple(i for i, other in enumerate(shapes) if other == shape), *shape)
        for shape in dict.fromkeys(shapes)
    ]
    most = (1 + PADDING) * sum(stack.entries for stack in stacks)
    while len(stacks) > 1:
        a, b = min(
            combinations(stacks, 2),
            key=lambda pair: pair[0].merged(pair[1]).entries - sum(s.entries for s in pair),
        )
        merged = [stack for stack in stacks if stack not in (a, b)] + [a.merged(b)]
        if sum(stack.entries for stack in merged) > most:
            break
        stacks = merged
    return tuple(stacks)


class StackedNorms:
    """Copies of weights with their u and v, in stacks, to be normalized together.

    In memory a weight is a matrix: its channels_last form (d0, h, w, d1) cut after d0, or before d1
    if `transposed`. "left" is the vector of u and v that is multiplied from the left, u^T or v^T.

    Args:
        weights: (d0, d1, h, w) or (d0, d1) each, of one dtype and device.
        u: of each weight, along its outputs; `advance` changes them.
        v: of each weight, along its inputs; likewise.
        eps: of each weight, the lower bound on the norms that u and v are divided by.
        transposed: whether outputs are the second dimension, as in transposed convolutions.

    Attributes:
        vectors: all left vectors, then all right ones.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        u: Sequence[Tensor],
        v: Sequence[Tensor],
        eps: Sequence[float],
        transposed: bool = False,
    ) -> None:
        self._weights, self._eps, self._transposed = list(weights), list(eps), transposed
        left, right = (v, u) if transposed else (u, v)
        self.vectors = [*left, *right]
        shapes = tuple((len(rows), len(columns)) for rows, columns in zip(left, right, strict=True))
        plan = plan_stacks(shapes)
        places = {
            member: (stack, position, *shapes[member])
            for stack, planned in enumerate(plan)
            for position, member in enumerate(planned.members)
        }
        # Of each weight: its stack, its position there, its rows and columns.
        self._places = [places[member] for member in range(len(shapes))]
        num = len(plan)
        matrices = [(len(stack.members), stack.rows, stack.columns) for stack in plan]
        lefts, rights = [(n, 1, r) for n, r, _ in matrices], [(n, 1, c) for n, _, c in matrices]
        stacks = self._zeros([*matrices, *lefts, *rights])
        self._matrices = stacks[:num]
        self._left, self._right = stacks[num : 2 * num], stacks[2 * num :]
        self._sigma: list[Tensor] = []  # scalars, once they are known
        with torch.no_grad():
            torch._foreach_copy_(
                [*self._weights_in(self._matrices), *self._left_views(), *self._right_views()],
                [*self._weights, *self.vectors],
            )

    @torch.no_grad()
    def advance(self) -> None:
        """Do one power iteration, v <- W^T u, u <- W v, each scaled to unit length, in place.

        sigma = u^T W v is then the length of W v.
        """
        with without_autocast(self._weights[0]):
            if self._transposed:
                self._advance_left()
                self._sigma = self._advance_right()
            else:
                self._advance_right()
                self._sigma = self._advance_left()
        torch._foreach_copy_(self.vectors, [*self._left_views(), *self._right_views()])

    @torch.no_grad()
    def estimate(self) -> None:
        """Compute sigma = u^T W v from u and v as they are."""
        with without_autocast(self._weights[0]):
            products = [
                torch.bmm(right, matrices.mT)
                for matrices, right in zip(self._matrices, self._right, strict=True)
            ]
            sums = [p.sum(dim=2) for p in torch._foreach_mul(products, self._left)]  # (n, 1) each
        self._sigma = [sums[stack][position, 0] for stack, position, *_ in self._places]

    def normalized(self) -> list[Tensor]:
        """Divide the copies by sigma, in place, and return them with the weights' shapes.

        Gradients reach the weights through them, with u and v as constants. Backward passes may be
        repeated, as for micro-batches, but not differentiated. Call this once.
        """
        with torch.no_grad():
            torch._foreach_div_(self._weights_in(self._matrices), self._sigma)
        return list(_Normalized.apply(self, *self._weights))

    def pull_back(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the gradients of the weights from those of the normalized ones, G.

        They are (G - <G, W / sigma> u v^T) / sigma: Miyato et al. 2018, equation 9.
        """
        known = {i: gradient for i, gradient in enumerate(gradients) if gradient is not None}
        stacks = self._zeros([tuple(matrices.shape) for matrices in self._matrices])
        views = self._weights_in(stacks)
        with without_autocast(self._weights[0]):
            torch._foreach_copy_([views[i] for i in known], list(known.values()))
            inner = [
                p.sum(dim=(1, 2), keepdim=True) for p in torch._foreach_mul(stacks, self._matrices)
            ]
            scaled = torch._foreach_mul([left.mT for left in self._left], inner)
            torch._foreach_addcmul_(stacks, scaled, self._right, value=-1)
            found = torch._foreach_div([views[i] for i in known], [self._sigma[i] for i in known])
        results = dict(zip(known, found, strict=True))
        return [results.get(i) for i in range(len(gradients))]

    def _advance_left(self) -> list[Tensor]:
        """Replace the left vectors, and return the norms that they were divided by."""
        for matrices, left, right in zip(self._matrices, self._left, self._right, strict=True):
            torch.bmm(right, matrices.mT, out=left)
        return self._scale(self._left_views())

    def _advance_right(self) -> list[Tensor]:
        for matrices, left, right in zip(self._matrices, self._left, self._right, strict=True):
            torch.bmm(left, matrices, out=right)
        return self._scale(self._right_views())

    def _scale(self, vectors: list[Tensor]) -> list[Tensor]:
        """Scale vectors to unit length, in place, and return what they were divided by."""
        norms = list(torch._foreach_norm(vectors))
        torch._foreach_clamp_min_(norms, self._eps)
        torch._foreach_div_(vectors, norms)
        return norms

    def _weights_in(self, stacks: list[Tensor]) -> list[Tensor]:
        """Return views of stacks with the weights' shapes."""
        views = []
        for weight, place in zip(self._weights, self._places, strict=True):
            stack, position, rows, columns = place
            matrix = stacks[stack][position, :rows, :columns]
            views.append(matrix.view(weight.movedim(1, -1).shape).movedim(-1, 1))
        return views

    def _left_views(self) -> list[Tensor]:
        return [self._left[stack][position, 0, :rows] for stack, position, rows, _ in self._places]

    def _right_views(self) -> list[Tensor]:
        return [
            self._right[stack][position, 0, :columns]
            for stack, position, _, columns in self._places
        ]

    def _zeros(self, shapes: list[tuple[int, ...]]) -> list[Tensor]:
        """Return zeros of these shapes, in one piece of memory."""
        sizes = [prod(shape) for shape in shapes]
        parts = self._weights[0].new_zeros(sum(sizes)).split(sizes)
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


class _Normalized(torch.autograd.Function):
    """Connects normalized weights to the raw ones."""

    @staticmethod
    def forward(ctx: Any, norms: StackedNorms, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.norms = norms  # not with `save_for_backward`, which is for one backward pass
        ctx.set_materialize_grads(False)
        return tuple(norms._weights_in(norms._matrices))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *ctx.norms.pull_back(gradients)
