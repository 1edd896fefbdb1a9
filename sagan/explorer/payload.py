"""A picture with its attention as one compact binary: sent once, so that pointing costs no request.

The bytes are a safetensors file, which a page reads with a JSON parser and typed arrays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from sagan.explain.queries import interesting_queries
from sagan.nn.base import Maps
from sagan.types import Float32Array, UInt8Array

TOUR = 4  # query points that each layer is introduced with

Tensors = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Scene:
    """A picture and what the networks make of it.

    Attributes:
        picture: uint8 (S, S, 3).
        maps: {layer name: float32 (N, M)}, rows summing to 1.
        scores: D's logits, float32 (K,): one for each label, K = 1 without labels.
        label: the class that it was drawn as; None for a photograph or without classes.
        without: uint8 (S, S, 3), the same latents drawn without attention; None for a photograph.
    """

    picture: UInt8Array
    maps: Maps
    scores: Float32Array
    label: int | None = None
    without: UInt8Array | None = field(default=None)

    def encode(self) -> bytes:
        """As safetensors.

        `picture`, `without` and `scores` as they are; of each layer `bytes/NAME` uint8
        (N, M) and `scale/NAME` float32 (N,), see `quantize`, and `tour/NAME` int32
        (4,), query points worth a look. Metadata: `label`, if there is one.
        """
        tensors: dict[str, npt.NDArray[np.generic]] = {
            "picture": self.picture,
            "scores": self.scores.astype(np.float32),
        }
        if self.without is not None:
            tensors["without"] = self.without
        for name, attention in self.maps.items():
            tensors[f"bytes/{name}"], tensors[f"scale/{name}"] = quantize(attention)
            tour = interesting_queries(attention, self.picture, TOUR)
            tensors[f"tour/{name}"] = np.array(tour, dtype=np.int32)
        return pack(tensors, {} if self.label is None else {"label": str(self.label)})


def quantize(attention: Float32Array) -> tuple[UInt8Array, Float32Array]:
    """Attention (N, M) as bytes (N, M) and scales (N,): `weight = scale * (byte / 255)**2`.

    The scale is the row's maximum. Of the root, equal steps are finer where weights are small:
    the error is at most `scale * (byte / 255) / 255`, 0.4 % of the largest weight at the top and
    less below.
    """
    scale = attention.max(axis=1)
    share = attention / np.maximum(scale, np.finfo(np.float32).tiny)[:, None]
    return np.rint(255 * np.sqrt(share)).astype(np.uint8), scale.astype(np.float32)


def pack(tensors: Tensors, metadata: Mapping[str, str]) -> bytes:
    """Arrays as the bytes of a safetensors file."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return save(contiguous, dict(metadata))
