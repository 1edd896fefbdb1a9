"""How often two pieces of a face are read as the same: one hair color, one skin, two alike eyes.

The rate is compared with two others: that of real drawings, since the reader errs and some eyes
wink, and that of pieces of different images of the same style, which is chance.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sagan.metrics.parts.pieces import KINDS, READ, Kind, PartsTable, Piece, What
from sagan.types import Float32Array, Int64Array


@dataclass(frozen=True)
class Agreement:
    """How often two pieces agree.

    Attributes:
        num: number of images.
        rate: share of images with pieces that agree.
        chance: share of agreeing pieces among all pairs of pieces of two different images of the
            same style.
    """

    num: int
    rate: float
    chance: float

    @property
    def corrected(self) -> float:
        """The rate on a scale where chance is 0 and 1 is 1, as Cohen's kappa.

        It is 0 where all images are read alike: their agreement says nothing.
        """
        return (self.rate - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0


# By kind, distance between the pieces in pixels, and style.
Agreements: TypeAlias = dict[tuple[Kind, int, str], Agreement]


def read_styles(logits: Float32Array, table: PartsTable) -> Int64Array:
    """Return the style that the reader sees in each whole image: int64 (N,)."""
    return logits[:, : len(table.styles)].argmax(axis=1)


def agreements(
    logits: Float32Array, table: PartsTable, styles: Int64Array | None = None
) -> Agreements:
    """Compare the readings of all pairs of pieces.

    Args:
        logits: of N images, as the reader returns them: float32 (N, `table.width`).
        table: what they mean.
        styles: the style of each image, int64 (N,) into `table.styles`; by default what the reader
            sees.

    Returns:
        The agreement of each pair in the images of its style, where there are two or more.
    """
    styles = styles if styles is not None else read_styles(logits, table)
    seen: Mapping[tuple[What, Piece], Float32Array] = {
        (what, piece): logits[:, columns] for what, piece, columns in table.columns()
    }
    found: Agreements = {}
    for pair in table.pairs:
        rows = np.flatnonzero(styles == table.styles.index(pair.style))
        if len(rows) >= 2:
            what = READ[pair.kind]
            possible = [v.style == pair.style for v in table.values[what]]
            first, second = (seen[what, piece][rows][:, possible] for piece in pair.pieces)
            compared = compare(first.argmax(axis=1), second.argmax(axis=1), sum(possible))
            found[pair.kind, pair.distance, pair.style] = compared
    return found


def compare(first: Int64Array, second: Int64Array, num_values: int) -> Agreement:
    """Compare two readings (N,) in 0..`num_values` - 1 of the same N >= 2 images."""
    num = len(first)
    same = int((first == second).sum())
    counts = (np.bincount(codes, minlength=num_values) for codes in (first, second))
    pairs = int(np.multiply(*counts).sum()) - same  # of different images
    return Agreement(num, same / num, pairs / (num * (num - 1)))


def pooled(found: Iterable[Agreement]) -> Agreement:
    """Return the agreement over the images of several styles."""
    known = list(found)
    num = sum(one.num for one in known)
    rate = sum(one.num * one.rate for one in known) / num
    return Agreement(num, rate, sum(one.num * one.chance for one in known) / num)


def by_distance(found: Agreements) -> dict[tuple[Kind, int], Agreement]:
    """Return the agreement by kind and distance, over all styles in which it can be read."""
    keys = dict.fromkeys((kind, distance) for kind, distance, _ in found)
    return {key: pooled(one for (*own, _), one in found.items() if (*own,) == key) for key in keys}


def by_kind(found: Agreements) -> dict[Kind, Agreement]:
    """Return the agreement of adjacent pieces, by kind."""
    near = by_distance(found)
    return {kind: near[kind, 0] for kind in KINDS if (kind, 0) in near}
