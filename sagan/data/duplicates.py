"""Finding images of a set that are the same, pixel for pixel, in bounded memory."""

import ast
import hashlib
import json
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sagan.data.skipped import MAX_NAMED_BYTES
from sagan.types import ImageRows, Int64Array, UInt8Array

# This many groups are listed by name, as far as their names fit into MAX_NAMED_BYTES of pack.json;
# the rest are only counted.
MAX_GROUPS = 1000
_LAYOUT_BYTES = 8  # of each name, in indented JSON


def image_hash(image: UInt8Array) -> int:
    """Return a 64-bit hash of an image's pixels.

    Among a million different images, the chance that any two have the same hash is 1 in 4e7.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def image_hashes(images: ImageRows) -> npt.NDArray[np.int64]:
    """Return the `image_hash` of each of the images (N, H, W, C)."""
    return np.array([image_hash(images[row]) for row in range(len(images))], dtype=np.int64)


def first_of_each(hashes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the rows of the images that equal no earlier one, in order."""
    _, rows = np.unique(hashes, return_index=True)
    return np.sort(rows)


@dataclass(frozen=True)
class Copies:
    """The images of a set that equal others.

    Attributes:
        num: how many are copies of an earlier one.
        num_contradicting: how many of these have another label than it.
        named: groups of names of equal images, in the images' order; as many as are listed.
    """

    num: int
    num_contradicting: int
    named: tuple[tuple[str, ...], ...]


class DuplicateFinder:
    """Takes a set's images in turn, and says at the end which of them are copies.

    It needs eight bytes of memory for each image; names go to a file.

    Args:
        names_file: a file to write, which the caller removes.
    """

    def __init__(self, names_file: Path) -> None:
        self._hashes = array("q")
        self._path = names_file
        self._names = names_file.open("w", encoding="ascii")

    def add(self, names: Iterable[str], hashes: Sequence[int]) -> None:
        """Add the next images, by name and `image_hash`."""
        self._hashes.extend(hashes)
        self._names.writelines(ascii(name) + "\n" for name in names)

    def close(self) -> None:
        """Close the file of names."""
        self._names.close()

    def groups(self, images: ImageRows, labels: Int64Array | None = None) -> Copies:
        """Compare images with equal hashes; call it after `close`.

        Args:
            images: the images that were added, uint8 (N, H, W, C).
            labels: theirs, int64 (N,), if they have any.
        """
        rows = [
            group
            for candidates in _equal_runs(np.frombuffer(self._hashes, dtype=np.int64))
            for group in _equal_images(candidates, images)
        ]
        rows.sort()
        num_copies = sum(len(group) - 1 for group in rows)
        contradicting = 0
        if labels is not None:
            contradicting = sum(
                int((labels[group[1:]] != labels[group[0]]).sum()) for group in rows
            )
        return Copies(num_copies, contradicting, self._named(rows[:MAX_GROUPS]))

    def _named(self, groups: list[list[int]]) -> tuple[tuple[str, ...], ...]:
        rows = (row for group in groups for row in group)
        wanted = dict.fromkeys(islice(rows, MAX_NAMED_BYTES // _LAYOUT_BYTES), "")
        if wanted:
            with self._path.open(encoding="ascii") as lines:
                wanted |= {n: ast.literal_eval(line) for n, line in enumerate(lines) if n in wanted}
        sizes = accumulate(len(json.dumps(name)) + _LAYOUT_BYTES for name in wanted.values())
        fitting = takewhile(lambda size: size <= MAX_NAMED_BYTES, sizes)
        names = {row: name for (row, name), _ in zip(wanted.items(), fitting, strict=False)}
        listed = (tuple(names[row] for row in group if row in names) for group in groups)
        return tuple(group for group in listed if len(group) > 1)


def _equal_runs(hashes: np.ndarray) -> list[list[int]]:
    """Return groups of two or more rows with equal hashes."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    # Where each run begins, and at the end where another one would.
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1], True])
    lengths = np.diff(starts)
    return [
        order[start : start + length].tolist()
        for start, length in zip(starts[:-1], lengths, strict=True)
        if length > 1
    ]


def _equal_images(candidates: list[int], images: ImageRows) -> list[list[int]]:
    """Divide rows with equal hashes into groups of two or more with equal images."""
    by_content: dict[bytes, list[int]] = {}
    for row in candidates:
        by_content.setdefault(images[row].tobytes(), []).append(row)
    return [group for group in by_content.values() if len(group) > 1]
