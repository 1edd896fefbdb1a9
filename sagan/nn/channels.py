"""The published layouts: how many channels each network has at which size.

The published networks draw squares of 32, 64, 128, 256 or 512 pixels, which double a 4 x 4 start
three to seven times. Other shapes take the layout of the largest such square that fits into them,
with more cells in every map and the same channels: 48 pixels that of 32 with a start of 6 x 6 (as
SN-GAN, Miyato et al. 2018, has for STL-10), 96 that of 64 likewise, 96 x 64 that of 64 with a start
of 6 cells across and 4 down. A 3 x 3 start would take one block more for the same pixels; the
discriminator's smallest map would have odd sides, which 2x2 pooling does not divide.

Maps have the proportions of the image and are named by their shorter side. Torch is not imported
here, because the configuration needs this and must load fast.
"""

from collections.abc import Iterator
from contextlib import suppress

from sagan.images.shape import ImageShape

START = 4  # the shorter side of a published start; others have up to 7 cells there
MAX_START = 16  # the longer side

# By the side of the published square. Channels, as multiples of the width, at the residual
# generator's start and after each block; 512 is that of BigGAN (Brock et al. 2019), like 256.
RESIDUAL_GENERATOR = {
    32: (4, 4, 4, 4),
    64: (16, 8, 4, 2, 1),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}

# The generator beside a projected discriminator has at 32 the proportions of the larger ones: it
# takes less time, and draws things that one recognizes sooner (docs/experiments.md).
PROJECTED_GENERATOR = RESIDUAL_GENERATOR | {32: (16, 8, 4, 2)}

# Channels after each of the residual discriminator's blocks. The blocks halve the image until it is
# as small as the generator's start (twice that for 32); the remaining blocks keep its size.
RESIDUAL_DISCRIMINATOR = {
    32: (2, 2, 2, 2),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}

# The deconvolution family, at 64 x 64 pixels only: side of each hidden feature map -> multiple of
# the width, in the order of the layers.
DCGAN_RESOLUTION = 64
DCGAN_GENERATOR = {4: 8, 8: 4, 16: 2, 32: 1}
DCGAN_DISCRIMINATOR = {32: 1, 16: 2, 8: 4, 4: 8}

# What the heads of a projected discriminator see: features of a frozen network, in maps that are
# 1/4, 1/8, 1/16 and 1/32 as large as its images, which are doubled if they have a side below this.
PROJECTED_SIDE = 64
PROJECTED_DISCRIMINATOR = {4: 24, 8: 40, 16: 112, 32: 320}

QUERY_DIVISOR = 8  # queries and keys of an attention layer have C/8 channels


def check_layout(family: str, shape: ImageShape) -> None:
    """Check that the networks of a family have a layout for images of this shape.

    Raises:
        ValueError: they do not.
    """
    if family == "dcgan" and shape[:2] != (DCGAN_RESOLUTION, DCGAN_RESOLUTION):
        raise ValueError(f"family dcgan has only resolution {DCGAN_RESOLUTION}: give resolution=64")
    published = list(RESIDUAL_GENERATOR)
    if not published[0] <= shape.side < 2 * published[-1]:
        raise ValueError(
            f"no layout for {shape}: the shorter side must have {published[0]} to "
            f"{2 * published[-1] - 1} pixels"
        )
    cell = _layout(shape) // START
    if shape.height % cell or shape.width % cell or max(shape[:2]) > MAX_START * cell:
        raise ValueError(
            f"no layout for {shape}: with this shorter side, both must be multiples of {cell} and "
            f"at most {MAX_START * cell}"
        )
    largest = max(PROJECTED_DISCRIMINATOR)
    scale = projected_scale(shape)
    if family == "projected" and any(scale * side % largest for side in shape[:2]):
        raise ValueError(
            f"no layout for {shape}: in family projected, both sides must be multiples of "
            f"{largest // scale}; classic-32 and classic-64 take others"
        )


def has_layout(family: str, shape: ImageShape) -> bool:
    """Return whether the networks of a family have a layout for images of this shape."""
    with suppress(ValueError):
        check_layout(family, shape)
        return True
    return False


def neighboring_shapes(shape: ImageShape) -> Iterator[ImageShape]:
    """Yield a shape with the one half as large and the one twice as large, if they have layouts."""
    height, width, channels = shape
    halved = ImageShape(height // 2, width // 2, channels)
    for near in (halved, shape, ImageShape(height * 2, width * 2, channels)):
        if has_layout("residual", near):
            yield near


def _layout(shape: ImageShape) -> int:
    """Return the side of the published square with this shape's layout."""
    return max(side for side in RESIDUAL_GENERATOR if side <= shape.side)


def generator_start(shape: ImageShape) -> tuple[int, int]:
    """Return the rows and columns of the map that a residual generator starts from."""
    return shape.feature_map(shape.side * START // _layout(shape))


def generator_channels(family: str, shape: ImageShape) -> tuple[int, ...]:
    """Return a generator's channels, as multiples of its width, from its start on.

    Args:
        family: "residual" or "projected".
        shape: of the images; `check_layout` accepts it.
    """
    layouts = {"residual": RESIDUAL_GENERATOR, "projected": PROJECTED_GENERATOR}
    return layouts[family][_layout(shape)]


def discriminator_channels(shape: ImageShape) -> tuple[int, ...]:
    """Return a residual discriminator's channels after each block, as multiples of its width."""
    return RESIDUAL_DISCRIMINATOR[_layout(shape)]


def residual_generator_sizes(shape: ImageShape) -> list[int]:
    """Return the side of the feature map after each block; the last has all pixels."""
    start = min(generator_start(shape))
    return [start << (i + 1) for i in range(len(RESIDUAL_GENERATOR[_layout(shape)]) - 1)]


def residual_discriminator_sizes(shape: ImageShape) -> list[int]:
    """Return the side of the feature map after each block; the smallest may occur repeatedly."""
    smallest = min(generator_start(shape)) * (2 if _layout(shape) == 32 else 1)
    blocks = len(discriminator_channels(shape))
    return [max(shape.side >> (i + 1), smallest) for i in range(blocks)]


def projected_scale(shape: ImageShape) -> int:
    """Return how much to enlarge images for the frozen network of a projected discriminator."""
    return 2 if shape.side < PROJECTED_SIDE else 1


def generator_feature_maps(family: str, shape: ImageShape, width: int) -> dict[int, int]:
    """Return the feature maps of a generator that attention can follow: side -> channels.

    Args:
        family: "residual", "dcgan" or "projected".
        shape: of the images; `check_layout` accepts it.
        width: channels that the layout multiplies.
    """
    if family == "dcgan":
        return {size: width * multiple for size, multiple in DCGAN_GENERATOR.items()}
    sizes = residual_generator_sizes(shape)
    multiples = generator_channels(family, shape)[1:]
    return {size: width * multiple for size, multiple in zip(sizes, multiples, strict=True)}


def discriminator_feature_maps(family: str, shape: ImageShape, width: int) -> dict[int, int]:
    """Return the same for a discriminator; of several maps with the same side, the first."""
    if family == "dcgan":
        return {size: width * multiple for size, multiple in DCGAN_DISCRIMINATOR.items()}
    if family == "projected":
        side = projected_scale(shape) * shape.side
        return {side // part: channels for part, channels in PROJECTED_DISCRIMINATOR.items()}
    sizes, multiples = residual_discriminator_sizes(shape), discriminator_channels(shape)
    maps: dict[int, int] = {}
    for size, multiple in zip(sizes, multiples, strict=True):
        maps.setdefault(size, width * multiple)  # attention follows the first map of a size
    return maps


def num_discriminator_blocks(family: str, shape: ImageShape) -> int:
    """Return how many blocks (of "dcgan": hidden layers) of a discriminator can be frozen."""
    if family == "dcgan":
        return len(DCGAN_DISCRIMINATOR)
    if family == "projected":
        return 0  # none that could be frozen: the first layers are frozen in any case
    return len(discriminator_channels(shape))
