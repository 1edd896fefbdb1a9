"""Packing on several hosts: each decodes a part of a source, and together they write the shards.

All hosts see one disk. Beside the set's place, `OUT.parts` has the work done so far:

    recipe.json               source and settings; all hosts must agree
    part-2-16/                the decoded images of part 2: images.npy, readable.npy, images.jsonl
    images-00000.npy          a shard, which is complete once images-00000.sha256 is there

Everything in it appears by a rename when it is whole. So a process may be killed at any moment, and
two may do the same work: they write the same bytes. Which images are a part follows from their
place in the source's listing. The set is then made from the parts by the code that packs on one
host, hence to the same bits.
"""

import contextlib
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL

from sagan._version import __version__
from sagan.data.batches import permutation
from sagan.data.decoded_parts import (
    READABLE,
    RECORDS,
    SUMMARY,
    DecodedPart,
    PartImages,
    PartOfListing,
    PartWriter,
    replayed,
    size_of_part,
)
from sagan.data.npy_files import synced, write_rows
from sagan.data.packed import IMAGES, Manifest, PackedDataset, is_packed, read_manifest
from sagan.data.packing import (
    MAX_UNREADABLE,
    SetWriter,
    check_numbers,
    check_replaceable,
    check_room,
    decoded_chunks,
)
from sagan.data.shards.layout import SHARD_BYTES, ShardLayout, shard_images, shard_name
from sagan.data.shards.writing import write_shard
from sagan.data.sources.base import Source
from sagan.errors import SaganError, reason
from sagan.images.decode import Fit, check_fit, check_shape
from sagan.images.depth import FULL_BITS, GrayRange
from sagan.images.shape import ImageShape, Resolution
from sagan.storage.files import read_json, replacing, write_bytes, write_json
from sagan.storage.staging import keep_first, staged
from sagan.types import Notify, Progress

_RECIPE = "recipe.json"
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Part:
    """One of the parts that a source is divided into.

    Attributes:
        number: of this part, from 1.
        total: how many parts there are.
    """

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Return the part that is written as "2/3".

        Raises:
            SaganError: it is written otherwise, or is not one of 1/3, 2/3 and 3/3.
        """
        number, _, total = text.partition("/")
        if number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total) <= 9999:
            return cls(int(number), int(total))
        raise SaganError(f"--part {text} is not a part: give --part 2/3 for the second of three")


def pack_part(
    source: Source,
    out: Path,
    size: Resolution,
    part: Part,
    *,
    fit: str = "crop",
    colors: str = "rgb",
    max_unreadable: float = MAX_UNREADABLE,
    shard_bytes: int = SHARD_BYTES,
    wait: bool = False,
    notify: Notify = lambda _: None,
    progress: Progress | None = None,
) -> PackedDataset | None:
    """Do one host's part of packing a set in shards, which gets the bits that `pack` writes.

    First decodes the part, unless that has been done. Once all parts are there, writes the shards
    that are missing, beginning with those that no other part begins with, and makes the set: so the
    call that comes last completes it. Called again, it resumes.

    Args:
        source: an open source, with the same listing on all hosts.
        out: the folder to make, on a disk that all hosts see. A set that is there already must be
            the one asked for, by its source and settings, and counts as complete.
        size: as for `pack`, like `fit`, `colors`, `max_unreadable` and `shard_bytes`.
        part: which part.
        wait: wait for the other parts, and write shards beside the other hosts.
        notify: called with one line for each thing that the user should know.
        progress: called with (done, in all) images, first decoded, then written into shards.

    Returns:
        The set; None if parts are missing and `wait` is false.

    Raises:
        SaganError: as `pack`, or the parts that are there were made from another source, with other
            settings or by other versions.
    """
    shape, checked_fit = check_shape(size, colors), check_fit(fit)
    check_numbers(max_unreadable, shard_bytes)
    check_replaceable(out)
    job = _Job(source, out, shape, checked_fit, max_unreadable, shard_bytes, part)
    try:
        if job.complete:
            return job.finished()
        out.parent.mkdir(parents=True, exist_ok=True)
        job.begin()
        job.decode(part.number, FULL_BITS, progress)
        if missing := job.missing(FULL_BITS):
            notify(f"part {part.number} of {part.total} is done; {_named(missing)} to come")
            if not wait:
                return None
        while job.missing(FULL_BITS) and not job.complete:
            time.sleep(_POLL_SECONDS)
        if not job.complete:
            job.complete_set(progress)
    except (OSError, SaganError, ValueError, KeyError, TypeError) as error:
        # Another host has completed the set and removed what this one was reading.
        if job.complete:
            return job.finished()
        if isinstance(error, SaganError):
            raise
        if isinstance(error, OSError):
            raise SaganError(f"cannot write '{job.work}': {reason(error)}") from None
        raise SaganError(f"'{job.work}' is damaged ({error}): remove it and start again") from None
    return job.finished()


def _named(parts: list[int]) -> str:
    listed = ", ".join(map(str, parts[:8])) + (", ..." if parts[8:] else "")
    return f"part {listed} is" if len(parts) == 1 else f"parts {listed} are"


def _bytes_in(folder: Path) -> int:
    """Return the size of all files in a folder, in which other hosts may be at work."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total


class _Job:
    """What one call does, and finds done by others.

    Attributes:
        work: the folder with the work done so far.
    """

    def __init__(
        self,
        source: Source,
        out: Path,
        shape: ImageShape,
        fit: Fit,
        max_unreadable: float,
        shard_bytes: int,
        part: Part,
    ) -> None:
        self.work = out.with_name(f"{out.name}.parts")
        self._source = source
        self._out = out
        self._shape = shape
        self._fit: Fit = fit
        self._max_unreadable = max_unreadable
        self._per_shard = shard_images(shape, shard_bytes)
        self._part = part
        self._totals = range(1, part.total + 1)

    # -- Before and after ---------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether the set is there."""
        return is_packed(self._out)

    def finished(self) -> PackedDataset:
        """Return the set that is there, which must be the one asked for; remove what made it."""
        manifest = read_manifest(self._out)
        asked = (self._source.split, self._fit, self._shape, self._per_shard)
        per_shard = manifest.shards.images if manifest.shards is not None else 0
        same = (manifest.split, manifest.fit, manifest.shape, per_shard) == asked
        if not same or not self._is_source_of(manifest):
            raise SaganError(
                f"'{self._out}' is another packed set, of {manifest.num_images:,} pictures at "
                f"{manifest.shape} from '{manifest.source}': remove it, or choose another place"
            )
        with contextlib.suppress(OSError):  # never seen in part under its name
            aside = self.work.with_name(f".{self.work.name}.old.tmp")
            if self.work.exists():
                self.work.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        return PackedDataset.open(self._out)

    def _is_source_of(self, manifest: Manifest) -> bool:
        """Whether a set can have been made from this source: by its name and number of images."""
        known = self._source.num_images
        number = manifest.num_images + manifest.num_skipped
        # A path may be written in several ways.
        names = (Path(name).resolve() for name in (self._source.name, manifest.source))
        return len(set(names)) == 1 and known in (None, number)

    def begin(self) -> None:
        """Record source and settings, or compare them with those that other hosts began with."""
        check_room(self._source, self._out, self._shape, 2, written=_bytes_in(self.work))
        recipe = {
            "source": self._source.listing_digest(),
            "split": self._source.split,
            "size": self._shape.resolution,
            "colors": self._shape.colors,
            "fit": self._fit,
            "parts": self._part.total,
            "images in a shard": self._per_shard,
            "sagan": __version__,
            "Pillow": PIL.__version__,  # pixels may depend on it
        }
        path = self.work / _RECIPE
        if not path.exists():
            with staged(self.work) as folder:
                write_json(folder / _RECIPE, recipe)
                keep_first(folder, self.work)
        begun = read_json(path, follow_links=False)
        if not isinstance(begun, dict):
            raise SaganError(f"'{self.work}' is damaged: remove it and start again")
        for key, value in recipe.items():
            if begun.get(key) == value:
                continue
            if key == "source":
                raise SaganError(
                    f"'{self.work}' was begun with another listing of '{self._source.name}': all "
                    "hosts must see the same files, with the same times, under the same path; if "
                    "the source has changed, remove the folder and start again"
                )
            raise SaganError(
                f"'{self.work}' was begun with another setting: {key} was {begun.get(key)} and "
                f"is now {value}; give the same on all hosts, or remove the folder and start again"
            )

    # -- Parts --------------------------------------------------------------------------------

    def missing(self, bits: int) -> list[int]:
        """Return the numbers of the parts that are not there."""
        return [number for number in self._totals if not self._folder(number, bits).exists()]

    def _folder(self, number: int, bits: int) -> Path:
        return self.work / f"part-{number}-{bits}"

    def decode(self, number: int, bits: int, progress: Progress | None) -> None:
        """Decode a part, unless it is there.

        Args:
            number: which part.
            bits: how many bits gray images of 16 bits use.
            progress: called with images done, and images in all.
        """
        target = self._folder(number, bits)
        if target.exists():
            return
        chosen = PartOfListing(self._source.images(), number - 1, self._part.total)
        expected = self._source.num_images
        if expected is not None:
            expected = size_of_part(number - 1, self._part.total, expected)
        chunks = decoded_chunks(self._source, chosen, expected, self._shape, self._fit, bits)
        with staged(target) as folder:
            writer = PartWriter(self._source, self._max_unreadable)
            with (
                contextlib.closing(chunks),
                synced(folder / IMAGES) as images,
                synced(folder / RECORDS) as records,
            ):
                write_rows(images, writer.take(chunks, records.write, expected, progress),
                           self._shape)  # fmt: skip
            with synced(folder / READABLE) as file:
                np.save(file, np.array(writer.readable, dtype=np.bool_), allow_pickle=False)
            summary = {
                "listed": chosen.seen, "num_flat": writer.num_flat, "gray": asdict(writer.gray)
            }  # fmt: skip
            write_json(folder / SUMMARY, summary)
            keep_first(folder, target)

    # -- The set ------------------------------------------------------------------------------

    def complete_set(self, progress: Progress | None) -> None:
        """Write the shards that are missing, then the set, from all parts."""
        parts = [DecodedPart(self._folder(number, FULL_BITS)) for number in self._totals]
        gray = sum((part.gray for part in parts), GrayRange())
        if gray.bits < FULL_BITS:
            # Only all images together show the range that they use: once more, with it.
            for number in np.roll(self._totals, 1 - self._part.number).tolist():
                self.decode(number, gray.bits, progress)
            parts = [DecodedPart(self._folder(number, gray.bits)) for number in self._totals]
        images = PartImages(parts, self._shape, self.work)
        layout = ShardLayout(len(images), self._per_shard)
        if len(images):  # otherwise the set's writer says that there are none
            self._write_shards(images, layout, progress)
        with staged(self._out) as folder:
            source, fit = self._source, self._fit
            writer = SetWriter(source, folder, self._shape, fit, self._max_unreadable, gray)
            for _ in writer.take(replayed(parts, images), None):
                pass
            manifest = writer.write_side_files(images)
            checksums = tuple(self._link_shard(n, folder) for n in range(layout.num_shards))
            writer.write_manifest(manifest, (layout.per_shard, checksums))
            keep_first(folder, self._out)

    def _write_shards(
        self, images: PartImages, layout: ShardLayout, progress: Progress | None
    ) -> None:
        """Write the shards that are missing: first those of this part, then any, at random.

        Hosts that help each other would otherwise write the same shards at the same time.
        """
        own = range(self._part.number - 1, layout.num_shards, self._part.total)
        others = permutation(layout.num_shards, self._part.number, 0).tolist()
        for done, shard in enumerate(dict.fromkeys([*own, *others])):
            path = self.work / shard_name(shard)
            if not path.with_suffix(".sha256").exists():
                with replacing(path) as temporary:
                    checksum = write_shard(images, temporary, layout.rows(shard))
                write_bytes(path.with_suffix(".sha256"), checksum.encode())
            if progress is not None:
                progress(min((done + 1) * layout.per_shard, len(images)), len(images))

    def _link_shard(self, shard: int, folder: Path) -> str:
        """Put a shard into the set's folder; return its checksum."""
        path = self.work / shard_name(shard)
        try:
            os.link(path, folder / path.name)  # another host may need it meanwhile
        except OSError:
            shutil.copyfile(path, folder / path.name)
        return path.with_suffix(".sha256").read_text(encoding="ascii")
