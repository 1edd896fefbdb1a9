"""Distances between features, a block of rows at a time, and nearest neighbors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sagan.metrics.features.extraction import float64_blocks
from sagan.types import Float32Array

BLOCK = 2**24  # numbers in a block of distances: bounds memory
QUERIES = 4096  # whose distances to a block of features are in memory at a time


@dataclass(frozen=True)
class Neighbors:
    """The nearest pictures of some pictures, nearest first.

    Attributes:
        distances: float64 (N, k), in feature space.
        indices: int64 (N, k).
    """

    distances: npt.NDArray[np.float64]
    indices: npt.NDArray[np.int64]


def distance_blocks(queries: Float32Array, features: Float32Array) -> Iterator[Tensor]:
    """Euclidean distances of features (N, D) to features (M, D): float64 blocks (n, M), n small.

    All rows are float64 in memory at once, so M should be thousands.
    """
    columns = torch.from_numpy(features.astype(np.float64))
    for rows in torch.from_numpy(queries.astype(np.float64)).split(max(1, BLOCK // len(features))):
        yield torch.cdist(rows, columns)


def nearest(queries: Float32Array, features: Float32Array, k: int) -> Neighbors:
    """The k nearest rows of features (M, D), k <= M, for each query (N, D).

    Features are read once, a block at a time; M may be millions.
    """
    rows = torch.from_numpy(queries.astype(np.float64))
    distances = torch.empty(len(rows), 0, dtype=torch.float64)
    indices = torch.empty(len(rows), 0, dtype=torch.int64)
    first = 0
    for block in map(torch.from_numpy, float64_blocks(features)):
        found = [
            torch.cdist(part, block).topk(min(k, len(block)), largest=False)
            for part in rows.split(QUERIES)
        ]
        distances = torch.cat([distances, torch.cat([part.values for part in found])], dim=1)
        indices = torch.cat([indices, torch.cat([part.indices for part in found]) + first], dim=1)
        distances, kept = distances.topk(min(k, distances.shape[1]), largest=False)
        indices = indices.gather(1, kept)
        first += len(block)
    return Neighbors(distances.numpy(), indices.numpy())
