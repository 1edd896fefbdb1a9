"""Random numbers as a pure function of what they are for: (seed, step, update)."""

import numpy as np
import torch


class KeyedRng:
    """A random number generator that starts again from each key it is given.

    So any step can be repeated without replaying those before it, and no random state has to be
    saved. Distinct keys give independent streams (NumPy's SeedSequence hashing).

    Args:
        device: where it draws.
    """

    def __init__(self, device: torch.device) -> None:
        self._rng = torch.Generator(device)

    def at(self, *key: int) -> torch.Generator:
        """Return the generator, at the start of the stream of non-negative integers."""
        (seed,) = np.random.SeedSequence(key).generate_state(1, np.uint64)
        return self._rng.manual_seed(int(seed) >> 1)  # fits a signed 64-bit integer
