"""An attention layer as a figure shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sagan.explain.statistics import Both, both, grids
from sagan.types import FloatArray, Int64Array

MAX_QUERIES = 64


@dataclass(frozen=True, eq=False)
class LayerView:
    """A layer's maps, the queries to show, and what a convolution in its place would see.

    Attributes:
        name: such as "generator.attention_16".
        attention: float `(num, N, M)`; each row is at least 0 and sums to 1.
        queries: for each image, the row indices n in [0, N) to draw: 1 to 64, equally many each.
        gamma: the layer's learned scale.
        field: int `(rows, 2)` and `(columns, 2)`, one for squares: what convolutions alone see,
            from `sagan.explain.receptive.receptive_field` or `receptive_fields`.
        start: rows and columns of the map that the generator starts from.
    """

    name: str
    attention: FloatArray
    queries: Sequence[Sequence[int]]
    gamma: float
    field: Both[Int64Array]
    start: tuple[int, int] = (4, 4)

    @property
    def sees_image(self) -> bool:
        """Whether `field` is measured in the image itself, rather than in the generator's start."""
        return self.name.startswith("discriminator.")

    def check(self, num: int, image_size: tuple[int, int]) -> None:
        """Check that everything fits `num` images of a size.

        Raises:
            ValueError: something does not fit.
        """
        attention, queries = self.attention, self.queries
        if attention.ndim != 3 or not num == len(attention) == len(queries):
            raise ValueError(
                f"{self.name}: attention {attention.shape} and queries for {len(queries)} images "
                f"do not belong to {num} images"
            )
        grid, _ = grids(attention, image_size)
        for spans, cells in zip(both(self.field), grid, strict=True):
            if spans.shape != (cells, 2):
                raise ValueError(f"the field must have shape {(cells, 2)}, not {spans.shape}")
        numbers = {len(row) for row in queries}
        if len(numbers) != 1 or not 1 <= max(numbers) <= MAX_QUERIES:
            raise ValueError(f"each image needs 1 to {MAX_QUERIES} queries, as many as the others")
        if not all(0 <= query < attention.shape[1] for row in queries for query in row):
            raise ValueError(f"queries must be row indices in 0 .. {attention.shape[1] - 1}")
