"""Agreement of the parts of drawn faces, from the logits that the reader of pieces gives."""

from collections.abc import Sequence

import numpy as np
import torch

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.metrics.features.network import FeatureNetwork, open_network
from sagan.metrics.parts.agreement import Agreements, agreements, by_distance, by_kind
from sagan.metrics.parts.weights import read_table
from sagan.types import Float32Array, Int64Array, UInt8Array

PARTS_NETWORK = "avatar-parts"
MIN_FACES = 100  # with fewer, a style may have a single one


def part_agreement(
    images: UInt8Array,
    labels: Int64Array | None = None,
    classes: Sequence[str] = (),
    network: FeatureNetwork | None = None,
) -> Agreements:
    """Measure how often the parts of drawn faces agree, by kind, distance and style.

    `by_kind` and `by_distance` of `sagan.metrics.parts.agreement` sum up the result.

    Args:
        images: faces in the styles of `avatars`, uint8 (N, S, S, 3), RGB; 64 x 64 or resized to it.
        labels: the style of each image, int64 (N,); by default what the reader sees.
        classes: names of the styles that labels count; by default the ten of `avatars`.
        network: `open_network("avatar-parts")`, to open it once for many calls.

    Raises:
        SaganError: a class is not one of these styles, or the reader's weights are damaged.
    """
    network = network or open_network(PARTS_NETWORK)
    table = read_table()
    if unknown := set(classes) - set(table.styles):
        raise SaganError(f"'{min(unknown)}' is not a style of avatars that the reader knows")
    styles = labels
    if labels is not None and classes:
        styles = np.array([table.styles.index(name) for name in classes])[labels]
    logits, _ = network(torch.from_numpy(images))
    return agreements(logits.cpu().numpy(), table, styles)


def parts_metric(samples: Float32Array, reference: Float32Array) -> dict[str, float]:
    """Compare how often parts agree in samples and in real images.

    Args:
        samples: the reader's logits of samples, float32 (N, D).
        reference: likewise of real images, float32 (M, D).

    Returns:
        "parts", the mean over kinds of the share of samples with adjacent pieces that agree, and
        its details: "parts/real" likewise of real images, "parts/ratio" to these, "parts/chance"
        of pieces of different samples, "parts/corrected" for that chance; "parts/KIND" and
        "parts/KIND/DISTANCE" by kind and distance, each with its "/real" and "/chance".
    """
    table = read_table()
    found, real = agreements(samples, table), agreements(reference, table)
    # A model may not draw all styles, so kinds are compared where both have some.
    shared = found.keys() & real.keys()
    found = {key: one for key, one in found.items() if key in shared}
    real = {key: one for key, one in real.items() if key in shared}
    if not shared:
        raise SaganError("parts cannot be compared: samples and real images share no style")
    kinds, real_kinds = by_kind(found).values(), by_kind(real).values()
    rate = float(np.mean([one.rate for one in kinds]))
    real_rate = float(np.mean([one.rate for one in real_kinds]))
    values = {
        "parts": rate,
        "parts/real": real_rate,
        "parts/ratio": rate / real_rate,
        "parts/chance": float(np.mean([one.chance for one in kinds])),
        "parts/corrected": float(np.mean([one.corrected for one in kinds])),
    }
    real_distances = by_distance(real)
    for (kind, distance), one in by_distance(found).items():
        name = f"parts/{kind}" + (f"/{distance}" if distance else "")
        values[name] = one.rate
        values[f"{name}/real"] = real_distances[kind, distance].rate
        values[f"{name}/chance"] = one.chance
    return values


def check_faces(dataset: PackedDataset) -> None:
    """Check that a data set can be drawings of faces in styles that the reader knows.

    Raises:
        SaganError: it is something else.
    """
    styles = set(read_table().styles)
    one_style = not dataset.classes and dataset.source.startswith("avatars:")
    if not one_style and not (dataset.classes and styles.issuperset(dataset.classes)):
        raise SaganError(f"parts needs faces, as --data avatars, and '{dataset.source}' has others")
