"""From what users name, or have in memory, to samples and real images."""

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from sagan.data import PackedDataset, open_dataset, open_source
from sagan.data.cache import find_manifest
from sagan.data.packed import read_manifest
from sagan.data.shards.remote import is_url
from sagan.data.sources.base import Source
from sagan.data.sources.open import is_built_in
from sagan.data.workers import map_images
from sagan.errors import SaganError, UnreadableError, counted
from sagan.hub.folder import is_hub_folder
from sagan.hub.names import is_hub_name
from sagan.images.shape import ImageShape
from sagan.metrics.arrays import (
    DatasetInMemory,
    ImageArray,
    ValueRange,
    dataset_in_memory,
    with_classes,
)
from sagan.metrics.given_images import choose_images
from sagan.metrics.samples import ModelSamples, SamplePlan, SampleSet
from sagan.model import Model, shipped_models
from sagan.run.checkpoint import is_checkpoint
from sagan.run.directory import is_run
from sagan.sampling import open_same_model
from sagan.storage.files import expanded
from sagan.types import Notify, Progress


@dataclass(frozen=True)
class OpenedImages:
    """Images to measure.

    Attributes:
        dataset: the images.
        ordered: whether they are in the order in which they were drawn.
        num_unreadable: files that are left out.
    """

    dataset: PackedDataset
    ordered: bool
    num_unreadable: int = 0


OpenedSamples: TypeAlias = Model | OpenedImages
# Images in memory, alone or with their labels (N,).
ImagesInMemory: TypeAlias = ImageArray | tuple[ImageArray, Any]
# Samples: a model, where a model or images are, a data set, or images in memory.
SamplesLike: TypeAlias = OpenedSamples | PackedDataset | str | Path | ImagesInMemory
# Real images: a data set, where one is, or images in memory.
ImagesLike: TypeAlias = PackedDataset | str | Path | ImagesInMemory


def _silent(*_: object) -> None:
    pass


def open_samples(
    samples: SamplesLike,
    value_range: ValueRange | None = None,
    notify: Notify = _silent,
    progress: Progress = _silent,
) -> OpenedSamples:
    """Open a model, or images that some generator made, in their own size.

    Args:
        samples: what to measure.
        value_range: of floating-point images in memory, as for `as_uint8`.
        notify: called with each line for the user.
        progress: called while images are packed.

    Raises:
        SaganError: it does not exist, is damaged, or has images of several sizes.
    """
    if isinstance(samples, Model | OpenedImages):
        return samples
    if isinstance(samples, PackedDataset):
        return OpenedImages(samples, ordered=False)
    if isinstance(samples, str | Path):
        if are_images(str(samples)):
            return _open_images(str(samples), notify, progress)
        _require_model(str(samples))
        return open_same_model(samples)
    return OpenedImages(_in_memory(samples, value_range), ordered=True)


def sample_set(opened: OpenedSamples, reference: PackedDataset, plan: SamplePlan) -> SampleSet:
    """Return the samples of a plan, as they are compared with real images.

    Raises:
        SaganError: as `choose_images`, or a label of images in memory has no class.
    """
    if isinstance(opened, Model):
        return ModelSamples(opened, plan)
    dataset = opened.dataset
    if isinstance(dataset, DatasetInMemory) and reference.classes:
        dataset = with_classes(dataset, reference.classes)
    chosen = choose_images(dataset, reference, plan, opened.ordered)
    if opened.num_unreadable:
        files = counted(opened.num_unreadable, "unreadable file is", "unreadable files are")
        remark = f"in '{dataset.source}', {files} left out"
        chosen = replace(chosen, remarks=(*chosen.remarks, remark))
    return chosen


def open_reference(
    images: ImagesLike, samples: OpenedSamples, value_range: ValueRange | None = None
) -> PackedDataset:
    """Open real images at the size of the samples.

    Args:
        images: a data set, anything that `open_dataset` takes, or images in memory.
        samples: what they are compared with.
        value_range: of floating-point images in memory, as for `as_uint8`.

    Raises:
        SaganError: they cannot be used.
    """
    if isinstance(images, PackedDataset):
        return images
    if isinstance(images, str | Path):
        return open_real_images(str(images), samples)
    return _in_memory(images, value_range)


def open_real_images(
    source: str,
    samples: OpenedSamples,
    split: str | None = None,
    notify: Notify = _silent,
    progress: Progress = _silent,
) -> PackedDataset:
    """Open a data set at the size of the samples; those of a model decide the fit, too.

    Raises:
        SaganError: as `open_dataset`.
    """
    shape, fit = _shape_and_fit(samples)
    return open_dataset(
        source, shape.resolution, colors=shape.colors, fit=fit, split=split, notify=notify,
        progress=progress,
    )  # fmt: skip


def _shape_and_fit(samples: OpenedSamples) -> tuple[ImageShape, str]:
    """Return the shape of real images for these samples, and how they are made to have it."""
    if isinstance(samples, Model):
        return samples.config.shape, samples.fit
    return samples.dataset.shape, "crop"


def _in_memory(images: ImagesInMemory, value_range: ValueRange | None) -> PackedDataset:
    pixels, labels = images if isinstance(images, tuple) else (images, None)
    return dataset_in_memory(pixels, labels, value_range)


def _require_model(name: str) -> None:
    """Say what can be measured if there is nothing of this name."""
    # os.path.exists, unlike Path.exists, does not fail for an impossible name.
    if not (os.path.exists(name) or is_hub_name(name) or name in shipped_models()):  # noqa: PTH110
        raise SaganError(
            f"cannot find '{name}': give a model (a run directory, a .safetensors file, "
            f"hf:USER/NAME, {', '.join(shipped_models())}), or a folder or .zip of images"
        )


def are_images(name: str) -> bool:
    """Return whether the name of something to measure is that of images, not of a model."""
    if is_built_in(name) or is_url(name):
        return True
    path = expanded(name)
    if path.is_dir():
        is_model = is_run(path) or is_hub_folder(path) or is_checkpoint(path.resolve())
        return not (is_model or (path / "checkpoints").is_dir())  # a run that lost its config.json
    return path.is_file() and path.suffix.lower() != ".safetensors"


def _open_images(name: str, notify: Notify, progress: Progress) -> OpenedImages:
    """Open a folder, a zip, or anything else that training reads."""
    manifest = find_manifest(name)
    if manifest is not None:
        shape = manifest.shape
        dataset = open_dataset(name, shape.resolution, colors=shape.colors, notify=notify)
        return OpenedImages(dataset, ordered=False, num_unreadable=manifest.num_skipped)
    source = open_source(name)
    shape = _common_shape(source, name)
    dataset = open_dataset(
        name, shape.resolution, colors=shape.colors, notify=notify, progress=progress
    )
    unreadable = read_manifest(dataset.path).num_skipped
    return OpenedImages(dataset, are_numbered(i.name for i in source.images()), unreadable)


def _common_shape(source: Source, name: str) -> ImageShape:
    """Return the shape of a source's images, which must all have one size.

    They are gray if all are, and have opacity if any is transparent.
    """
    first, size, problem = "", (0, 0), ""
    found_colors: set[str] = set()
    results = map_images(source.examine, source.images(), source.num_images)
    with contextlib.closing(results):
        for image, facts in results:
            if isinstance(facts, UnreadableError):  # a few are counted and named by packing
                problem = problem or f"'{image.name}': {facts}"
                continue
            found = (facts.height, facts.width)
            if first and found != size:
                raise SaganError(
                    f"'{image.name}' in '{name}' has {facts.width} x {facts.height} pixels, and "
                    f"'{first}' {size[1]} x {size[0]}: samples must have one size; give it to them "
                    "with 'sagan data pack', and give the packed set"
                )
            first, size = first or image.name, found
            found_colors.add(facts.colors)
    if not first:
        raise SaganError(f"no picture in '{name}' can be read, such as {problem}")
    colors = "rgba" if "rgba" in found_colors else "gray" if found_colors == {"gray"} else "rgb"
    return ImageShape.of(f"{size[1]}x{size[0]}", colors)


def are_numbered(names: Iterable[str]) -> bool:
    """Return whether names of files differ in a number only, such as 00000.png, 00001.png."""
    found = [re.fullmatch(r"(.*\D|)\d+", PurePosixPath(name).stem) for name in names]
    return len({match and match[1] for match in found}) == 1 and found[0] is not None
