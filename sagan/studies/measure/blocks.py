"""Numbers on disjoint blocks of images, which tell what other images might have given.

The blocks are the same in all runs of a study: the same latents and the same real images. Whether a
difference between variants is one of these images is then seen from how much it varies over blocks.
"""

import numpy as np

from sagan.metrics.measures.inputs import MetricInputs
from sagan.metrics.measures.kernel import kernel_distance
from sagan.types import BoolArray, Int64Array

NUM_BLOCKS = 10
MIN_IMAGES = 2  # of a block


def block_rows(num: int) -> list[Int64Array]:
    """Return the rows of each block of `num` images, chosen at random; none of too few images."""
    if num < MIN_IMAGES * NUM_BLOCKS:
        return []
    rng = np.random.Generator(np.random.Philox(0))
    return np.array_split(rng.permutation(num), NUM_BLOCKS)


def distance_by_block(inputs: MetricInputs) -> list[float]:
    """Return the kernel distance of each block of samples to one of real images."""
    samples, reference = inputs.samples.features, inputs.reference.features
    pairs = zip(block_rows(len(samples)), block_rows(len(reference)), strict=False)
    return [
        kernel_distance(samples[np.sort(one)], reference[np.sort(other)], seed=0, subsets=1)[0]
        for one, other in pairs
    ]


def accuracy_by_block(hits: BoolArray) -> list[float]:
    """Return the accuracy on each block, given whether each image is classified right: (N,)."""
    return [float(hits[rows].mean()) for rows in block_rows(len(hits))]
