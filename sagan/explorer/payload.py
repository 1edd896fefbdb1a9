"""An image with its attention maps as one compact binary: sent once, so pointing costs no request.

The bytes are a safetensors file, which a page can read with a JSON parser and typed arrays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from sagan.explain.queries import interesting_queries
from sagan.nn.base import AttentionMaps
from sagan.types import Float32Array, UInt8Array

NUM_HIGHLIGHTS = 4  # query points that the page shows by itself, for each layer

PayloadTensors = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Payload:
    """An image, its attention maps and the discriminator's scores, as sent to the page.

    Attributes:
        image: uint8 (H, W, 3).
        maps: {layer name: float32 (N, M)}, rows summing to 1.
        scores: D's logits, float32 (K,): one for each label, K = 1 without labels.
        label: the class it was generated for; None for a photo or an unconditional model.
        without_attention: uint8 (H, W, 3), the same latents with every gamma at 0; None for a
            photo.
    """

    image: UInt8Array
    maps: AttentionMaps
    scores: Float32Array
    label: int | None = None
    without_attention: UInt8Array | None = field(default=None)

    def encode(self) -> bytes:
        """Return the bytes of a safetensors file.

        `image`, `without_attention` and `scores` are stored as they are. Each layer has
        `bytes/NAME` uint8 (N, M) and `scale/NAME` float32 (N,), see `quantize`, and
        `highlights/NAME` int32 (4,), query points worth a look. The metadata has `label`, if there
        is one.
        """
        tensors: dict[str, npt.NDArray[np.generic]] = {
            "image": self.image,
            "scores": self.scores.astype(np.float32),
        }
        if self.without_attention is not None:
            tensors["without_attention"] = self.without_attention
        for name, attention in self.maps.items():
            tensors[f"bytes/{name}"], tensors[f"scale/{name}"] = quantize(attention)
            highlights = interesting_queries(attention, self.image, NUM_HIGHLIGHTS)
            tensors[f"highlights/{name}"] = np.array(highlights, dtype=np.int32)
        return to_safetensors(tensors, {"label": str(self.label)} if self.label is not None else {})


def quantize(attention: Float32Array) -> tuple[UInt8Array, Float32Array]:
    """Return attention (N, M) as bytes (N, M) and scales (N,): `weight = scale * (byte / 255)**2`.

    The scale is the row's maximum. Steps that are equal in the square root are finer where weights
    are small: the error is at most `scale * (byte / 255) / 255`, which is 0.4% of the largest
    weight at the top and less below.
    """
    scale = attention.max(axis=1)
    share = attention / np.maximum(scale, np.finfo(np.float32).tiny)[:, None]
    return np.rint(255 * np.sqrt(share)).astype(np.uint8), scale.astype(np.float32)


def to_safetensors(tensors: PayloadTensors, metadata: Mapping[str, str]) -> bytes:
    """Return arrays as the bytes of a safetensors file."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return save(contiguous, dict(metadata))
