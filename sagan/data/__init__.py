"""From any collection of pictures to batches: sources -> packed set -> order of images.

Nothing here imports torch: packing and looking at data must start at once. Each name is imported
when it is first used, because worker processes need only what decodes.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagan.data.batches import BatchOrder
    from sagan.data.cache import open_dataset
    from sagan.data.info import DatasetInfo, Spread, describe
    from sagan.data.packed import PackedDataset, fingerprint_of
    from sagan.data.packing import pack

__all__ = [
    "BatchOrder",
    "DatasetInfo",
    "PackedDataset",
    "Spread",
    "describe",
    "fingerprint_of",
    "open_dataset",
    "pack",
]

_MODULES = {
    "BatchOrder": "batches",
    "DatasetInfo": "info",
    "PackedDataset": "packed",
    "Spread": "info",
    "describe": "info",
    "fingerprint_of": "packed",
    "open_dataset": "cache",
    "pack": "packing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
