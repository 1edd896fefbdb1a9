"""What a number holds under: names, stamps, and whether two numbers may be compared."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from sagan.data import PackedDataset
from sagan.metrics.features.network import FeatureNetwork

# Which of two numbers is better; "neither" where the best is in between.
Better: TypeAlias = Literal["higher", "lower", "neither"]

# What numbers are computed with besides torch. No part of the protocol: none should depend on it.
COMPUTED_WITH = (
    "torch-fidelity",
    "efficientnet-lite-pytorch",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
)
# Names with Inception's canonical weights, and the stem of the name with any other features.
_DISTANCES = {
    "fid": ("FID", "FD"),
    "kid": ("KID", "KD"),
    "is": ("IS", "IS"),
    "intra-fid": ("intra-FID", "intra-FD"),
}


def published_name(metric: str, network: FeatureNetwork) -> str:
    """What a number is called: "fid" -> "FID", or "FD-EfficientNet" with other features."""
    name, slash, detail = metric.partition("/")
    if name in _DISTANCES:
        canonical, stem = _DISTANCES[name]
        name = f"{stem}-{network.title}" if network.title else canonical
    return name + slash + detail


def identity(dataset: PackedDataset) -> dict[str, Any]:
    """Which real pictures."""
    return {
        "fingerprint": dataset.fingerprint,
        "split": dataset.split,
        "pictures": len(dataset),
        "size": dataset.size,
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Where two protocols differ, such as "samples pictures: 10000 and 50000"."""
    flat_one, flat_other = dict(_flat(one)), dict(_flat(other))
    for key in flat_one | flat_other:
        if key not in flat_one or key not in flat_other or flat_one[key] != flat_other[key]:
            yield f"{key}: {flat_one.get(key, 'nothing')} and {flat_other.get(key, 'nothing')}"


def _flat(protocol: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in protocol.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key} ")
        else:
            yield prefix + key, value
