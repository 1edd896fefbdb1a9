"""Which image of a sharded set lies where, and how pack.json describes the shards.

Shards contain the images in a fixed random order, so that each shard is a sample of the whole set:
sources list their images class by class, and a few shards of these would be a few classes. The
numbers of the images, their labels and the set's fingerprint are those of a set in one piece.
"""

import math
from functools import cached_property
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, FailFast, Field

from sagan.data.batches import permutation
from sagan.images.shape import ImageShape
from sagan.types import Int64Array

SHARD_BYTES = 64 * 10**6
MAX_SHARD_BYTES = 10**12
MAX_HEADER_BYTES = 4096  # of an .npy file of images; NumPy writes 128
# Part of the format: the order of the images in the shards of every set.
_STORAGE_SEED = 0x5348415244

Sha256: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
SideFile: TypeAlias = Literal["labels.npy", "attributes.json"]


class ShardIndex(BaseModel):
    """The part of pack.json that describes the shards. It contains no names of files.

    Attributes:
        images: images in each shard; the last one may have fewer.
        checksums: SHA-256 of each shard's file.
        files: SHA-256 of the other files.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    images: int = Field(ge=1)
    checksums: Annotated[tuple[Sha256, ...], FailFast()]
    files: dict[SideFile, Sha256]


def shard_name(number: int) -> str:
    """Return the name of a shard's file."""
    return f"images-{number:05}.npy"


def shard_images(shape: ImageShape, shard_bytes: int = SHARD_BYTES) -> int:
    """Return how many images of this shape make a shard of about this size."""
    return max(1, shard_bytes // math.prod(shape))


class ShardLayout:
    """The places of N images in shards.

    Args:
        num_images: N, at least 1.
        per_shard: images in each shard but the last, which has the rest.
    """

    def __init__(self, num_images: int, per_shard: int) -> None:
        self.num_images = num_images
        self.per_shard = per_shard
        self.num_shards = -(-num_images // per_shard)

    def size(self, shard: int) -> int:
        """Return the number of images in a shard."""
        return min(self.per_shard, self.num_images - shard * self.per_shard)

    def rows(self, shard: int) -> Int64Array:
        """Return the numbers of a shard's images, in order."""
        return self.stored[shard * self.per_shard :][: self.per_shard]

    @cached_property
    def stored(self) -> Int64Array:
        """The numbers of the images, int64 (N,), as they follow one another in the shards."""
        return permutation(self.num_images, _STORAGE_SEED, 0)

    @cached_property
    def places(self) -> Int64Array:
        """The place of each image in that order, int64 (N,)."""
        places = np.empty(self.num_images, np.int64)
        places[self.stored] = np.arange(self.num_images)
        return places
