"""Euclidean distances between features, in blocks of bounded memory, and nearest neighbors.

All distances are float64: torch takes them from dot products, |x|^2 + |y|^2 - 2 x.y, which would
lose those between close neighbors in float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sagan.metrics.features.extraction import float64_blocks
from sagan.types import Float32Array, Float64Array, Int64Array

DISTANCES_PER_BLOCK = 2**24  # bounds the memory of `distance_blocks`
QUERIES_PER_BLOCK = 4096  # bounds the memory of `nearest`, with the rows of `float64_blocks`


@dataclass(frozen=True)
class Neighbors:
    """The k nearest neighbors of N images, nearest first.

    Attributes:
        distances: float64 (N, k), in feature space.
        indices: int64 (N, k).
    """

    distances: Float64Array
    indices: Int64Array


def distance_blocks(queries: Float32Array, features: Float32Array) -> Iterator[Tensor]:
    """Yield the distances of queries (N, D) to features (M, D) as float64 blocks (n, M).

    The features are in memory at once, in float64, so M should be thousands.
    """
    columns = torch.from_numpy(features.astype(np.float64))
    rows_per_block = max(1, DISTANCES_PER_BLOCK // len(features))
    for rows in torch.from_numpy(queries.astype(np.float64)).split(rows_per_block):
        yield torch.cdist(rows, columns)


def nearest(queries: Float32Array, features: Float32Array, k: int) -> Neighbors:
    """Find the k nearest rows of features (M, D), k <= M, for each query (N, D).

    Features are read once, a block at a time, so M may be millions.
    """
    rows = torch.from_numpy(queries.astype(np.float64))
    distances = torch.empty(len(rows), 0, dtype=torch.float64)
    indices = torch.empty(len(rows), 0, dtype=torch.int64)
    first = 0
    for block in map(torch.from_numpy, float64_blocks(features)):
        found = [
            torch.cdist(part, block).topk(min(k, len(block)), largest=False)
            for part in rows.split(QUERIES_PER_BLOCK)
        ]
        # The nearest of this block compete with the nearest of all blocks before it.
        distances = torch.cat([distances, torch.cat([part.values for part in found])], dim=1)
        indices = torch.cat([indices, torch.cat([part.indices for part in found]) + first], dim=1)
        distances, kept = distances.topk(min(k, distances.shape[1]), largest=False)
        indices = indices.gather(1, kept)
        first += len(block)
    return Neighbors(distances.numpy(), indices.numpy())


def neighbor_radii(features: Float32Array, k: int) -> Tensor:
    """Return float64 (N,): how far each of features (N, D), N > k, is from its k-th nearest other.

    Precision, recall, density and coverage describe a distribution by balls of these radii.
    """
    # The nearest of all is the image itself, at distance 0.
    return torch.from_numpy(nearest(features, features, k + 1).distances[:, -1])
