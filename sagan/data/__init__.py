"""From any collection of pictures to batches: sources -> packed set -> order of images.

Nothing here imports torch: packing and looking at data must start at once.
"""

from sagan.data.batches import BatchOrder
from sagan.data.cache import default_cache, open_dataset
from sagan.data.info import DatasetInfo, Spread, describe
from sagan.data.packed import PackedDataset, fingerprint_of
from sagan.data.packing import pack

__all__ = [
    "BatchOrder",
    "DatasetInfo",
    "PackedDataset",
    "Spread",
    "default_cache",
    "describe",
    "fingerprint_of",
    "open_dataset",
    "pack",
]
