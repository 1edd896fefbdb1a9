"""Advice on a data set for training a GAN: which preset to start with, and what may go wrong."""

from collections.abc import Iterator

from sagan.config import resolve
from sagan.data.info import DatasetInfo
from sagan.data.packing import packed_bytes

# With fewer images a discriminator soon memorizes them (Karras et al. 2020, arXiv 2006.06676,
# figure 1, where 2,000 and fewer diverge at once without augmentation).
FEW_IMAGES = 2_000
# Size of the largest class over that of the smallest.
HEAVY_IMBALANCE = 10
FEW_OF_A_CLASS = 100
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


def suggestion(info: DatasetInfo) -> str:
    """Return one line: which preset to start with, and how much disk its packed set takes."""
    modest, large = SUGGESTED_PRESETS[resolution_for(info)]
    size = resolve(modest).resolution
    packed = packed_bytes(info.num_images, size)
    more = "" if info.num_images >= FEW_IMAGES else ", with --set augment=adaptive"
    return (
        f"--preset {modest} ({large} on a GPU{more}); packed at {size} x {size}: "
        f"{amount(packed)} of disk, mapped rather than loaded"
    )


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
            f"{info.num_images:,} pictures are few: the discriminator will memorize them; "
            "augmentation helps (the cpu presets have it, others with --set augment=adaptive), "
            "more pictures help more"
        )
    yield from _class_warnings(info)
    yield from _size_warnings(info)
    total = info.num_images + len(info.unreadable)
    if len(info.unreadable) * 10 > total:
        yield f"{len(info.unreadable):,} of {total:,} files cannot be read: packing will stop"
    if info.num_copies * 20 > info.num_images:
        yield (
            f"{info.num_copies:,} of {info.num_images:,} pictures are copies of others: samples "
            "will resemble these too often"
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
    target, smallest = resolve(modest).resolution, info.short_sides.smallest
    if info.short_sides.median < target:
        yield f"half of the pictures have fewer than {target} pixels and will be enlarged"
    elif smallest * 2 <= target:
        yield (
            f"sizes are mixed: some pictures have only {smallest} pixels and would be enlarged to "
            f"the {target} of {modest}, which the samples will show as blur; leave the smallest out"
        )
