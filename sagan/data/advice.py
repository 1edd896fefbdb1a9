"""Advice on a data set for training a GAN: which preset to start with, and what may go wrong."""

from collections.abc import Iterator, Sequence
from math import log

from sagan.config import Config, resolve
from sagan.data.info import DatasetInfo
from sagan.data.packing import MANY_FLAT, MAX_UNREADABLE, packed_bytes
from sagan.images.shape import ImageShape
from sagan.nn.channels import START, has_layout
from sagan.runtime.machine import Machine

# With fewer images a discriminator soon memorizes them (Karras et al. 2020, arXiv 2006.06676,
# figure 1, where 2,000 and fewer diverge at once without augmentation).
FEW_IMAGES = 2_000
# What the shipped models draw: which one to start from depends on that more than on their size.
DRAWN_BY = {
    "avatars-64": "drawn people",
    "cifar10-32": "photos of 32 pixels",
    "openmoji-64": "emoji",
}
# Size of the largest class over that of the smallest.
HEAVY_IMBALANCE = 10
FEW_OF_A_CLASS = 100
# A size has nearly the proportions of pictures that lose at most this share of a side.
MAX_CROP = 0.07
# For each resolution in pixels, the preset without a GPU and the preset with one.
SUGGESTED_PRESETS = {
    32: ("cpu-32", "sagan-32"),
    64: ("cpu-64", "sagan-64"),
    128: ("cpu-64", "sagan-128"),
    256: ("cpu-64", "sagan-256"),
}


def resolution_for(info: DatasetInfo) -> int:
    """Return the largest of 32, 64, 128 and 256 pixels that half of the images have, or else 32."""
    if not info.short_sides:
        return min(SUGGESTED_PRESETS)
    return max(
        (r for r in SUGGESTED_PRESETS if r <= info.short_sides.median),
        default=min(SUGGESTED_PRESETS),
    )


def suggested_preset(info: DatasetInfo, machine: Machine) -> str:
    """Return the preset to start with.

    A GPU gets the published recipe of the pictures' resolution, unless there are few of them.
    """
    modest, large = SUGGESTED_PRESETS[resolution_for(info)]
    return large if machine.has_gpu and info.num_images >= FEW_IMAGES else modest


def models_to_start_from(resolution: int) -> list[str]:
    """Return the names of the shipped models that draw this many pixels."""
    from sagan.model import shipped_models  # imports torch

    return [name for name in shipped_models() if name.endswith(f"-{resolution}")]


def suggestion(info: DatasetInfo, machine: Machine) -> str:
    """Return one line: how to start on this machine, why, and how much disk the packed set takes.

    With few pictures it is to start from a trained model. The name is only an example: which model
    draws the most similar pictures is for people to decide.
    """
    preset = suggested_preset(info, machine)
    shape = resolve(preset).shape
    few = info.num_images < FEW_IMAGES
    models = models_to_start_from(shape.side) if few else []
    options = f"--from {models[0]}" if models else f"--preset {preset}"
    return (
        f"{options} ({'; '.join(_reasons(info, machine, preset, models))}); packed at "
        f"{shape}: {amount(packed_bytes(info.num_images, shape))} of disk, mapped rather "
        "than loaded"
    )


def _reasons(
    info: DatasetInfo, machine: Machine, preset: str, models: Sequence[str]
) -> Iterator[str]:
    _, large = SUGGESTED_PRESETS[resolution_for(info)]
    if models:
        drawn = ", ".join(f"{name} for {what}" for name, what in DRAWN_BY.items())
        yield f"{info.num_images:,} pictures are few to train on from scratch"
        yield f"take {drawn}"
    if machine.has_gpu:
        if preset != large:
            yield f"with more pictures, {large}"
        return
    cores = f"{machine.cores} {'core' if machine.cores == 1 else 'cores'}"
    kind = f"{cores} {'with' if machine.has_bfloat16 else 'without'} bfloat16"
    if not models:
        yield f"an hour or two on {kind}; --minutes 20 finds what fits into less"
    if info.num_images >= FEW_IMAGES:
        yield f"{large} on a GPU"


def size_suggestion(info: DatasetInfo, machine: Machine) -> str:
    """Return one line on the size to train at, or "" where the preset's is right.

    That is for images of one size which is not square, or square between two published sizes. A
    packed set has decided it.
    """
    if info.widths is None or info.heights is None or "packed" in info.formats:
        return ""
    own = ImageShape(info.heights.largest, info.widths.largest)
    if own[:2] != (info.heights.smallest, info.widths.smallest):
        return ""
    preset = resolve(suggested_preset(info, machine))
    fitting = _own_size(own, preset) if own.width == own.height else _wide_size(own, preset)
    if fitting is None:
        return ""
    otherwise = "cropped to squares" if own.width != own.height else f"made {preset.shape}"
    return (
        f"--set resolution={fitting.resolution} (all pictures are {own}; without it they are "
        f"{otherwise})"
    )


def _own_size(own: ImageShape, preset: Config) -> ImageShape | None:
    """Return the shape of square images if it lies between the preset's and the next one."""
    side = preset.shape.side
    between = side < own.side < 2 * side
    return own if between and has_layout(preset.family, own) else None


def _wide_size(own: ImageShape, preset: Config) -> ImageShape | None:
    """Return a shape with nearly the images' proportions, about as many pixels as the preset's."""
    side = preset.shape.side
    steps = range(side // START, 4 * side + 1, side // START)
    fitting: dict[ImageShape, float] = {}  # to how far it is from what is wanted
    for shape in (ImageShape(height, width) for height in steps for width in steps):
        crop = abs(log(shape.width * own.height / (shape.height * own.width)))
        smaller = shape.height <= own.height and shape.width <= own.width
        larger = shape.height * shape.width / side**2
        if not (smaller and crop <= MAX_CROP and larger <= 2):
            continue
        if has_layout(preset.family, shape):
            fitting[shape] = abs(log(larger)) + 5 * crop
    best = min(fitting, key=fitting.__getitem__, default=None)
    return best if best is not None and best.height != best.width else None


def color_suggestion(info: DatasetInfo) -> str:
    """Return one line on the colors to train in, or "" where RGB, the default, is right.

    A packed set has decided them.
    """
    if "packed" in info.formats:
        return ""
    if info.num_images and info.colors.get("gray") == info.num_images:
        return "--set colors=gray (all pictures are gray)"
    transparent = info.colors.get("rgba", 0)
    if 2 * transparent > info.num_images:
        return (
            f"--set colors=rgba ({transparent:,} of {info.num_images:,} pictures are transparent "
            "somewhere; without it they are laid over white)"
        )
    return ""


def amount(num_bytes: int) -> str:
    """Return a number of bytes as people write it, such as "1.5 GB"."""
    value = float(num_bytes)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"


def warnings(info: DatasetInfo) -> Iterator[str]:
    """Yield what is likely to spoil training, one line each, with what helps."""
    if 0 < info.num_images < FEW_IMAGES:
        yield (
            f"{info.num_images:,} pictures are few: the discriminator will memorize them; start "
            "from a trained model (--from MODEL), keep augmentation on (presets for CPUs have it, "
            "others with --set augment=adaptive); more pictures help most"
        )
    yield from _class_warnings(info)
    yield from _size_warnings(info)
    total = info.num_images + info.num_unreadable
    if info.num_unreadable > MAX_UNREADABLE * total:
        outcome = "they were left out" if "packed" in info.formats else "packing will stop"
        yield f"{info.num_unreadable:,} of {total:,} files cannot be read: {outcome}"
    if info.num_copies * 20 > info.num_images:
        yield (
            f"{info.num_copies:,} of {info.num_images:,} pictures are copies of others: samples "
            "will resemble these too often"
        )
    yield from _likeness_warnings(info)


def _likeness_warnings(info: DatasetInfo) -> Iterator[str]:
    if info.num_near_copies:
        yield (
            f"{info.num_near_copies:,} pictures look nearly the same as others (recompressed, "
            "resized or cropped?): keep one of each, and none in both train and test"
        )
    if info.num_contradicting or info.num_near_contradicting:
        yield (
            f"one picture under two labels: {info.num_contradicting:,} are copies of others with "
            f"another label, and {info.num_near_contradicting:,} look nearly the same as one; "
            "keep one label for each"
        )
    if info.num_flat > MANY_FLAT * info.num_images:
        yield (
            f"{info.num_flat:,} of {info.num_images:,} pictures are nearly of one color: look at "
            "some with --sheet"
        )


def _class_warnings(info: DatasetInfo) -> Iterator[str]:
    if not info.counts:
        return
    sizes = [(count, name) for name, count in info.counts.items()]
    (few, least), (many, most) = min(sizes), max(sizes)
    if many > HEAVY_IMBALANCE * few:
        yield (
            f"classes are uneven: '{most}' has {many:,} pictures, '{least}' has {few:,}; samples "
            "of the small ones will be poor"
        )
    elif few < FEW_OF_A_CLASS:
        yield (
            f"the smallest class, '{least}', has only {few:,} pictures; consider "
            "--set conditional=false"
        )


def _size_warnings(info: DatasetInfo) -> Iterator[str]:
    if not info.short_sides:
        return
    modest, _ = SUGGESTED_PRESETS[resolution_for(info)]
    target, smallest = resolve(modest).shape.side, info.short_sides.smallest
    if info.short_sides.median < target:
        yield f"half of the pictures have fewer than {target} pixels and will be enlarged"
    elif smallest * 2 <= target:
        yield (
            f"sizes are mixed: some pictures have only {smallest} pixels and would be enlarged to "
            f"the {target} of {modest}, which the samples will show as blur; leave the smallest out"
        )
