"""Samples as files: a grid, a folder or zip of pictures, an interpolation strip or film."""

import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from sagan.errors import SaganError, printable
from sagan.images.grid import grid_columns, image_grid
from sagan.nn.base import GeneratorBase
from sagan.nn.inputs import seeded_latents
from sagan.sampling import grid_labels, spherical_interpolation
from sagan.storage.files import replacing, write_picture
from sagan.storage.fsync import flush, reason
from sagan.types import UInt8Array

MOST_ROWS = 10  # of an interpolation where no classes are asked for
ARCHIVES = (".tar", ".tgz", ".gz", ".7z", ".rar")  # which are not written
MILLISECONDS = 60  # a frame of a film
MOST_FILM_PIXELS = 2**16 - 1  # a side of a GIF


def write_samples(
    generator: GeneratorBase,
    out: Path,
    num: int,
    labels: Sequence[int] | None,
    classes: Sequence[str],
    seed: int,
    truncation: float,
) -> None:
    """Draw `num` pictures: a grid if `out` is a .png, else one file each in a folder or .zip.

    Args:
        generator: ready to sample.
        out: FILE.png, FILE.zip or a folder, which is made, or is empty.
        num: how many pictures.
        labels: the labels to use in turn; None takes all classes in turn.
        classes: names of the labels, for the folders of single pictures.
        seed: decides the latents.
        truncation: scales them.

    Raises:
        SaganError: another kind of file, or one that cannot be written.
    """
    kind = out.suffix.lower()
    if kind not in (".png", ".zip"):
        _check_folder(out)
    turns = _turns(generator, num, labels)
    images = generator.sample(num, turns, seed, truncation)
    if kind == ".png":
        columns = grid_columns(num, len(labels) if labels else generator.num_classes)
        save_picture(image_grid(images, columns), out)
    elif kind == ".zip":
        _write_zip(out, _files(images, turns, classes))
    else:
        _write_folder(out, _files(images, turns, classes))


def write_interpolation(
    generator: GeneratorBase,
    out: Path,
    frames: int,
    labels: Sequence[int] | None,
    seed: int,
    truncation: float,
) -> None:
    """Draw the way from one random latent to another: a strip (.png) or a film (.gif).

    A strip has a row for each label, without `labels` for the first `MOST_ROWS` there are, and
    one for an unconditional model; a film goes there and back, the rows below each other.

    Raises:
        SaganError: another kind of file, one that cannot be written, or a film that is too tall.
    """
    kind = out.suffix.lower()
    if kind not in (".png", ".gif"):
        raise SaganError(f"an interpolation goes to FILE.png or FILE.gif, not to {out.name}")
    turns = _rows(generator, labels)
    if kind == ".gif" and len(turns) * (generator.resolution + 2) > MOST_FILM_PIXELS:
        raise SaganError(f"{len(turns)} rows are too many for a .gif: ask for fewer --classes")
    start, end = seeded_latents(2, generator.latent_size, seed)
    latents = spherical_interpolation(start, end, frames)
    rows = [
        generator.sample(
            frames, label if label is None else [label] * frames, truncation=truncation,
            latents=latents,
        )
        for label in turns
    ]  # fmt: skip
    if kind == ".png":
        save_picture(image_grid(np.concatenate(rows), frames), out)
    else:
        stacked = [image_grid(np.stack(column), 1) for column in zip(*rows, strict=True)]
        film = [Image.fromarray(frame) for frame in stacked + stacked[-2:0:-1]]
        write_picture(
            out, film[0], save_all=True, append_images=film[1:], duration=MILLISECONDS, loop=0
        )


def _turns(generator: GeneratorBase, num: int, labels: Sequence[int] | None) -> list[int] | None:
    if labels is None:
        return grid_labels(num, generator.num_classes)
    return [labels[i % len(labels)] for i in range(num)]


def _rows(generator: GeneratorBase, labels: Sequence[int] | None) -> Sequence[int | None]:
    """The label of each row of an interpolation; one row of None if there are none."""
    if labels is None and generator.num_classes:
        return range(min(generator.num_classes, MOST_ROWS))
    return [None] if labels is None else labels


def _files(
    images: UInt8Array, labels: list[int] | None, classes: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of each picture: 00000.png, or CLASS/00000.png counted within the class."""
    counts: Counter[str] = Counter()  # by folder: names of two classes may make one
    for i, image in enumerate(images):
        name = f"{i:05d}.png"
        if labels is not None:
            folder = _folder_name(classes[labels[i]])
            # Some file systems tell neither case nor the two ways to write an accent apart.
            same = unicodedata.normalize("NFC", folder).casefold()
            name = f"{folder}/{counts[same]:05d}.png"
            counts[same] += 1
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        yield name, buffer.getvalue()


def _folder_name(class_name: str) -> str:
    """A class name as one folder's name: model files come from strangers."""
    return printable(class_name).replace("/", "_").replace("\\", "_").lstrip(".") or "_"


def _check_folder(out: Path) -> None:
    """Insist on an empty folder, or none: else nobody knows which pictures are of which command."""
    if out.suffix.lower() in {*Image.registered_extensions(), *ARCHIVES}:
        raise SaganError(f"samples go to FILE.png, FILE.zip or a folder, not to {out.name}")
    if out.is_dir() and any(out.iterdir()):
        raise SaganError(f"{out} is not empty: give another folder, or empty this one")


def _write_folder(out: Path, files: Iterator[tuple[str, bytes]]) -> None:
    try:
        for name, content in files:
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise SaganError(f"cannot write to {out}: {reason(error)}") from None


def _write_zip(out: Path, files: Iterator[tuple[str, bytes]]) -> None:
    with replacing(out) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, content in files:
                archive.writestr(name, content)
        flush(temporary)


def save_picture(picture: UInt8Array, out: Path) -> None:
    """Write one picture, uint8 (H, W, 3).

    Raises:
        SaganError: the file cannot be written.
    """
    write_picture(out, Image.fromarray(picture))
