"""Samples as files: a grid, a folder or zip of pictures, an interpolation strip or film."""

import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from sagan.errors import SaganError
from sagan.files import write_picture
from sagan.inference import GeneratorBase
from sagan.pixels import UInt8Array
from sagan.sampling import (
    grid_columns,
    grid_labels,
    image_grid,
    seeded_latents,
    spherical_interpolation,
)

MILLISECONDS = 60  # a frame of a film


def write_samples(
    generator: GeneratorBase,
    out: Path,
    num: int,
    labels: Sequence[int] | None,
    classes: Sequence[str],
    seed: int,
    truncation: float,
) -> None:
    """Draw ``num`` pictures: a grid if ``out`` is a .png, else one file each in a folder or .zip.

    Args:
        generator: ready to sample.
        out: FILE.png, FILE.zip or a folder, which is made.
        num: how many pictures.
        labels: the labels to use in turn; None takes all classes in turn.
        classes: names of the labels, for the folders of single pictures.
        seed: decides the latents.
        truncation: scales them.

    Raises:
        SaganError: another kind of file, or one that cannot be written.
    """
    turns = _turns(generator, num, labels)
    images = generator.sample(num, turns, seed, truncation)
    if out.suffix == ".png":
        columns = grid_columns(num, len(labels) if labels else generator.num_classes)
        save_picture(image_grid(images, columns), out)
    elif out.suffix == ".zip":
        _write_zip(out, _files(images, turns, classes))
    elif out.suffix:
        raise SaganError(f"samples go to FILE.png, FILE.zip or a folder, not to {out.name}")
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

    A strip has a row for each label (one row for an unconditional model); a film goes there and
    back, the rows below each other.

    Raises:
        SaganError: another kind of file, or one that cannot be written.
    """
    start, end = seeded_latents(2, generator.latent_size, seed)
    latents = spherical_interpolation(start, end, frames)
    rows = [
        generator.sample(frames, row, truncation=truncation, latents=latents)
        for row in _rows(generator, frames, labels)
    ]
    if out.suffix == ".png":
        save_picture(image_grid(np.concatenate(rows), frames), out)
    elif out.suffix == ".gif":
        stacked = [image_grid(np.stack(column), 1) for column in zip(*rows, strict=True)]
        film = [Image.fromarray(frame) for frame in stacked + stacked[-2:0:-1]]
        write_picture(
            out, film[0], save_all=True, append_images=film[1:], duration=MILLISECONDS, loop=0
        )
    else:
        raise SaganError(f"an interpolation goes to FILE.png or FILE.gif, not to {out.name}")


def _turns(generator: GeneratorBase, num: int, labels: Sequence[int] | None) -> list[int] | None:
    if labels is None:
        return grid_labels(num, generator.num_classes)
    return [labels[i % len(labels)] for i in range(num)]


def _rows(
    generator: GeneratorBase, frames: int, labels: Sequence[int] | None
) -> Iterator[list[int] | None]:
    if labels is None and generator.num_classes:
        labels = range(min(generator.num_classes, 10))
    if labels is None:
        yield None
    else:
        yield from ([label] * frames for label in labels)


def _files(
    images: UInt8Array, labels: list[int] | None, classes: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of each picture: 00000.png, or CLASS/00000.png counted within the class."""
    counts = [0] * len(classes)
    for i, image in enumerate(images):
        name = f"{i:05d}.png"
        if labels is not None:
            label = labels[i]
            name = f"{_folder_name(classes[label])}/{counts[label]:05d}.png"
            counts[label] += 1
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        yield name, buffer.getvalue()


def _folder_name(class_name: str) -> str:
    """A class name as one folder's name: model files come from strangers."""
    return class_name.replace("/", "_").replace("\\", "_").replace("\0", "_").lstrip(".") or "_"


def _write_folder(out: Path, files: Iterator[tuple[str, bytes]]) -> None:
    try:
        for name, content in files:
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise SaganError(f"cannot write to {out}: {error.strerror}") from None


def _write_zip(out: Path, files: Iterator[tuple[str, bytes]]) -> None:
    try:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name, content in files:
                archive.writestr(name, content)
    except OSError as error:
        raise SaganError(f"cannot write {out}: {error.strerror}") from None


def save_picture(picture: UInt8Array, out: Path) -> None:
    """Write one picture, uint8 (H, W, 3).

    Raises:
        SaganError: the file cannot be written.
    """
    write_picture(out, Image.fromarray(picture))
