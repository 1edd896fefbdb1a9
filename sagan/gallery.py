"""Samples as files: a grid, a folder or zip of images, an interpolation."""

import os
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from sagan.errors import SaganError, printable, reason
from sagan.images.credits import credit_options
from sagan.images.grid import (
    GAP,
    Captions,
    captioned_grid,
    captions_for,
    enlarged,
    grid_columns,
    visible_scale,
)
from sagan.images.rgb import to_pillow
from sagan.images.shape import ImageShape
from sagan.nn.base import GeneratorBase
from sagan.nn.inputs import seeded_latents
from sagan.runtime.memory import check_memory
from sagan.runtime.watch import is_main_process
from sagan.sampling import grid_labels, sample_batches, spherical_interpolation
from sagan.storage.files import replacing, write_image
from sagan.storage.fsync import flush
from sagan.storage.staging import filled, is_staged
from sagan.types import Float32Array, Progress, UInt8Array

# How much to enlarge samples; None is "auto" for several in one file, else 1.
Scale: TypeAlias = int | Literal["auto"] | None

DEFAULT_NUM = 64  # samples
MAX_SCALE = 32
MAX_ROWS = 10  # of an interpolation, unless classes are given
ARCHIVES = (".tar", ".tgz", ".gz", ".7z", ".rar")  # not supported, and hardly meant as folders
FRAME_MILLISECONDS = 60  # of an animation
MAX_GIF_SIDE = 2**16 - 1  # pixels
BYTES_PER_FILE = 500  # that a label and an archive's entry take in memory
MAX_GRID_PIXELS = 2**28  # of an image with several samples: 0.8 GB, and as much to encode it
MAX_NAME_BYTES = 200  # of a folder; most systems allow 255

# Windows allows none of these in a name, and keeps some names for devices.
_INVALID_IN_NAMES = re.compile(r'[<>:"/\\|?*]')
_RESERVED_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def number_of_samples(num: int | None, frames: int | None, latents: Path | None) -> int:
    """Return how many samples to draw: `num`, or `DEFAULT_NUM` without it.

    Raises:
        SaganError: there are to be frames of an interpolation, which has a row for each class, or
            samples of given latents, one for each.
    """
    if latents is not None and (num is not None or frames is not None):
        raise SaganError("--latents draws each latent once: leave --num and --interpolate out")
    if num is not None and frames is not None:
        raise SaganError("--interpolate draws one row for each class: leave --num out")
    return num or DEFAULT_NUM


def parse_scale(text: str | None) -> Scale:
    """Return what `--scale` says.

    Raises:
        SaganError: it is neither "auto" nor a whole number from 1 to `MAX_SCALE`.
    """
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if not (text.isdecimal() and 1 <= int(text) <= MAX_SCALE):
        raise SaganError(f"--scale '{text}' is neither auto nor a number from 1 to {MAX_SCALE}")
    return int(text)


def write_samples(
    generator: GeneratorBase,
    out: Path,
    num: int,
    labels: Sequence[int] | None,
    classes: Sequence[str],
    seed: int,
    truncation: float,
    progress: Progress | None = None,
    *,
    scale: Scale = None,
    credits: str = "",
    latents: Float32Array | None = None,
) -> None:
    """Write `num` samples: a grid if `out` is a .png, otherwise one file each in a folder or .zip.

    Args:
        generator: the network, ready to sample.
        out: FILE.png, FILE.zip or a folder, which is created unless it exists and is empty.
        num: how many samples.
        labels: labels to use in turn; None uses all classes in turn.
        classes: class names, which name the folders in a folder or zip.
        seed: decides the latents.
        truncation: scales the latents.
        progress: called with the images drawn so far, and `num`.
        scale: the factor by which to enlarge samples, each pixel to a square. With 1, a grid has
            no names of classes either.
        credits: of the training data; saved in every PNG.
        latents: (num, latent_size), to use instead of `seed`.

    Single files have the model's own channels; a grid is RGB, with transparent samples on white.

    Of several processes, each draws its share, and the main process writes. Memory hardly grows
    with `num`, except for a grid. If the work is interrupted, or the disk is full, nothing is left.

    Raises:
        SaganError: samples are not written to this kind of file, it cannot be written, or a grid
            would be too large.
    """
    if not is_main_process():
        sample_labels = _sample_labels(generator, num, labels)
        for _ in sample_batches(generator, num, sample_labels, seed, truncation, latents):
            pass  # this process's share, which the main process writes
        return
    kind = out.suffix.lower()
    if kind not in (".png", ".zip"):
        _check_folder(out)
    check_memory(BYTES_PER_FILE * num, str(out), "the list of its images")
    sample_labels = _sample_labels(generator, num, labels)
    factor = _factor(scale, generator.shape, num, in_one_file=kind == ".png")
    if kind == ".png":
        remedy = "write single images to FILE.zip or a folder"
        _check_grid(num, generator.shape, factor, remedy)
    batches = _counted(
        sample_batches(generator, num, sample_labels, seed, truncation, latents), num, progress
    )
    if kind == ".png":
        columns = grid_columns(num, len(labels) if labels else generator.num_classes)
        names = [classes[label] for label in sample_labels or ()] if scale != 1 else []
        captions = captions_for(names, columns)
        grid = captioned_grid(np.concatenate(list(batches)), columns, factor, captions)
        save_image(grid, out, credits)
        return
    files = _files(batches, sample_labels, classes, factor, credits)
    if kind == ".zip":
        _write_zip(out, files)
    else:
        _write_folder(out, files)


def write_interpolation(
    generator: GeneratorBase,
    out: Path,
    frames: int,
    labels: Sequence[int] | None,
    seed: int,
    truncation: float,
    classes: Sequence[str] = (),
    *,
    scale: Scale = None,
    credits: str = "",
) -> None:
    """Write an interpolation between two random latents: a strip (.png) or an animation (.gif).

    There is a row for each label: by default the first `MAX_ROWS` classes, and a single row for an
    unconditional model. An animation runs forward and back, with the rows below each other.

    Args:
        generator: the network, ready to sample.
        out: FILE.png or FILE.gif.
        frames: number of images in each row.
        labels: a row for each; None for the default.
        seed: decides the two latents.
        truncation: scales the latents.
        classes: class names, written left of the rows.
        scale: as for `write_samples`.
        credits: as for `write_samples`.

    Raises:
        SaganError: the file is of another kind, cannot be written, or would be too tall for a GIF.
    """
    kind = out.suffix.lower()
    if kind not in (".png", ".gif"):
        raise SaganError(
            f"an interpolation is written to FILE.png or FILE.gif, not to '{out.name}'"
        )
    row_labels = _row_labels(generator, labels)
    num = frames * len(row_labels)
    factor = _factor(scale, generator.shape, num, in_one_file=True)
    height = len(row_labels) * (generator.shape.height * factor + GAP)
    if kind == ".gif" and height > MAX_GIF_SIDE:
        raise SaganError(f"{len(row_labels)} rows are too many for a .gif: ask for fewer --classes")
    _check_grid(num, generator.shape, factor, "ask for fewer frames or --classes")
    start, end = seeded_latents(2, generator.latent_size, seed)
    latents = spherical_interpolation(start, end, frames)
    rows = []
    for label in row_labels:
        repeated = [label] * frames if label is not None else None
        rows.append(generator.sample(frames, repeated, truncation=truncation, latents=latents))
    names = [classes[label] for label in row_labels if label is not None] if classes else []
    captions = Captions(rows=names if scale != 1 else ())
    if kind == ".png":
        save_image(captioned_grid(np.concatenate(rows), frames, factor, captions), out, credits)
        return
    stacked = [
        captioned_grid(np.stack(column), 1, factor, captions) for column in zip(*rows, strict=True)
    ]
    animation = [Image.fromarray(frame) for frame in stacked + stacked[-2:0:-1]]
    write_image(
        out,
        animation[0],
        save_all=True,
        append_images=animation[1:],
        duration=FRAME_MILLISECONDS,
        loop=0,
        **credit_options(kind, credits),
    )


def _factor(scale: Scale, shape: ImageShape, num: int, in_one_file: bool) -> int:
    """Return how much to enlarge `num` samples."""
    if scale == "auto" or (scale is None and in_one_file):
        return visible_scale(shape, num if in_one_file else 1)
    return scale or 1


def _check_grid(num: int, shape: ImageShape, factor: int, remedy: str) -> None:
    """Refuse an image that would take gigabytes of memory.

    Raises:
        SaganError: the images together have more than `MAX_GRID_PIXELS`.
    """
    height, width = shape.height * factor, shape.width * factor
    if num * height * width > MAX_GRID_PIXELS:
        raise SaganError(
            f"{num:,} images of {width} x {height} are too many for one file, which takes "
            f"{MAX_GRID_PIXELS // (height * width):,}: {remedy}"
        )


def _counted(
    batches: Iterator[UInt8Array], num: int, progress: Progress | None
) -> Iterator[UInt8Array]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        if progress is not None:
            progress(done, num)


def _sample_labels(
    generator: GeneratorBase, num: int, labels: Sequence[int] | None
) -> list[int] | None:
    if labels is not None:
        return [labels[i % len(labels)] for i in range(num)]
    return grid_labels(num, generator.num_classes)


def _row_labels(generator: GeneratorBase, labels: Sequence[int] | None) -> Sequence[int | None]:
    """The label of each row of an interpolation; one row of None if there are none."""
    if labels is not None:
        return labels
    return range(min(generator.num_classes, MAX_ROWS)) if generator.num_classes else [None]


def _files(
    batches: Iterator[UInt8Array],
    labels: list[int] | None,
    classes: Sequence[str],
    factor: int,
    credits: str,
) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of each sample: 00000.png, or CLASS/00000.png numbered within the class."""
    options = credit_options(".png", credits)
    counts: Counter[str] = Counter()  # by folder: two class names may become one folder name
    for i, image in enumerate(chain.from_iterable(batches)):
        name = f"{i:05d}.png"
        if labels is not None:
            folder = _folder_name(classes[labels[i]])
            # Some file systems ignore case, or the difference between the two encodings of accents.
            folder_key = unicodedata.normalize("NFC", folder).casefold()
            name = f"{folder}/{counts[folder_key]:05d}.png"
            counts[folder_key] += 1
        buffer = BytesIO()
        to_pillow(enlarged(image, factor)).save(buffer, "PNG", **options)
        yield name, buffer.getvalue()


def _folder_name(class_name: str) -> str:
    """Return a class name as a folder name that is safe and valid on every system.

    Model files may come from anyone, and samples written on one system are copied to another.
    """
    name = _INVALID_IN_NAMES.sub("_", printable(class_name)).lstrip(".")
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip(". ")
    return f"_{name}" if _RESERVED_NAMES.fullmatch(name) else name or "_"


def _check_folder(out: Path) -> None:
    """Refuse a folder with content, in which samples would mix with other files."""
    if out.suffix.lower() in {*Image.registered_extensions(), *ARCHIVES}:
        raise SaganError(
            f"samples are written to FILE.png, FILE.zip or a folder, not to '{out.name}'"
        )
    if out.is_dir() and not all(map(is_staged, out.iterdir())):
        raise SaganError(f"'{out}' is not empty: name another folder, or empty this one")


def _write_folder(out: Path, files: Iterator[tuple[str, bytes]]) -> None:
    try:
        with filled(Path(os.path.realpath(out))) as folder:
            for name, content in files:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    except OSError as error:
        raise SaganError(f"cannot write to '{out}': {reason(error)}") from None


def _write_zip(out: Path, files: Iterator[tuple[str, bytes]]) -> None:
    with replacing(out) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, content in files:
                archive.writestr(name, content)
        flush(temporary)


def save_image(image: UInt8Array, out: Path, credits: str = "") -> None:
    """Write one image, uint8 (H, W, 3), as FILE.png; it contains the credits of its data.

    Raises:
        SaganError: the file cannot be written.
    """
    write_image(out, Image.fromarray(image), **credit_options(".png", credits))
