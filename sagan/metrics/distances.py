"""Distances between features, a block of rows at a time, and nearest neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sagan.metrics.extraction import FloatArray, float64_blocks

BLOCK = 2**24  # numbers in a block of distances: bounds memory


@dataclass(frozen=True)
class Neighbours:
    """The nearest pictures of some pictures, nearest first.

    Attributes:
        distances: float64 (N, k), in feature space.
        indices: int64 (N, k).
    """

    distances: npt.NDArray[np.float64]
    indices: npt.NDArray[np.int64]


def distance_blocks(queries: FloatArray, features: FloatArray) -> Iterator[Tensor]:
    """Euclidean distances of features (N, D) to features (M, D): float64 blocks (n, M), n small."""
    for rows in _tensors(queries, max(1, BLOCK // len(features))):
        yield torch.cat([torch.cdist(rows, part) for part in _tensors(features)], 1)


def _tensors(features: FloatArray, rows: int | None = None) -> Iterator[Tensor]:
    return map(torch.from_numpy, float64_blocks(features, rows))


def nearest(queries: FloatArray, features: FloatArray, k: int) -> Neighbours:
    """The k nearest rows of features (M, D), k <= M, for each query (N, D)."""
    found = [block.topk(k, largest=False) for block in distance_blocks(queries, features)]
    return Neighbours(
        torch.cat([part.values for part in found]).numpy(),
        torch.cat([part.indices for part in found]).numpy(),
    )
