"""Random numbers as a pure function of what they are for: (seed, step, shard, ...)."""

import numpy as np
import torch


def keyed_rng(device: torch.device, *key: int) -> torch.Generator:
    """Return a random number generator that depends on the non-negative integers of `key` only.

    So any step can be repeated without replaying those before it, and no random state has to be
    saved. Distinct keys give independent streams (NumPy's SeedSequence hashing).
    """
    (seed,) = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(seed) >> 1)  # fits a signed 64-bit integer
