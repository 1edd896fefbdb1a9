"""The published layouts: how many channels each network has at which size.

Torch is not imported here, because the configuration needs this and must load fast.
"""

# Channels, as multiples of the width, at the residual generator's 4 x 4 start and after each block.
RESIDUAL_GENERATOR = {
    32: (4, 4, 4, 4),
    64: (16, 8, 4, 2, 1),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
}

# Channels after each of the residual discriminator's blocks. The blocks halve the image until it is
# 4 x 4 (8 x 8 for 32); the remaining blocks keep its size.
RESIDUAL_DISCRIMINATOR = {
    32: (2, 2, 2, 2),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
}

# The deconvolution family, at 64 pixels only: side of each hidden feature map -> multiple of the
# width, in the order of the layers.
DCGAN_RESOLUTION = 64
DCGAN_GENERATOR = {4: 8, 8: 4, 16: 2, 32: 1}
DCGAN_DISCRIMINATOR = {32: 1, 16: 2, 8: 4, 4: 8}

# What the heads of a projected discriminator see: features of a frozen network, in maps that are
# 1/4, 1/8, 1/16 and 1/32 as large as its images, which are enlarged to at least this side.
PROJECTED_SIDE = 64
PROJECTED_DISCRIMINATOR = {4: 24, 8: 40, 16: 112, 32: 320}

QUERY_DIVISOR = 8  # queries and keys of an attention layer have C/8 channels


def residual_generator_sizes(resolution: int) -> list[int]:
    """Return the side of the feature map after each block: 8, 16, ... `resolution`."""
    return [8 << i for i in range(len(RESIDUAL_GENERATOR[resolution]) - 1)]


def residual_discriminator_sizes(resolution: int) -> list[int]:
    """Return the side of the feature map after each block; the smallest may occur repeatedly."""
    smallest = 8 if resolution == 32 else 4
    blocks = len(RESIDUAL_DISCRIMINATOR[resolution])
    return [max(resolution >> (i + 1), smallest) for i in range(blocks)]


def generator_feature_maps(family: str, resolution: int, width: int) -> dict[int, int]:
    """Return the feature maps of a generator that attention can follow: side -> channels.

    Args:
        family: "residual", "dcgan" or "projected".
        resolution: side of the images: a key of `RESIDUAL_GENERATOR`, or 64 for "dcgan".
        width: channels that the layout multiplies.
    """
    if family == "dcgan":
        return {size: width * multiple for size, multiple in DCGAN_GENERATOR.items()}
    sizes, multiples = residual_generator_sizes(resolution), RESIDUAL_GENERATOR[resolution][1:]
    return {size: width * multiple for size, multiple in zip(sizes, multiples, strict=True)}


def discriminator_feature_maps(family: str, resolution: int, width: int) -> dict[int, int]:
    """Return the same for a discriminator; of several maps with the same side, the first."""
    if family == "dcgan":
        return {size: width * multiple for size, multiple in DCGAN_DISCRIMINATOR.items()}
    if family == "projected":
        side = max(resolution, PROJECTED_SIDE)
        return {side // part: channels for part, channels in PROJECTED_DISCRIMINATOR.items()}
    sizes, multiples = residual_discriminator_sizes(resolution), RESIDUAL_DISCRIMINATOR[resolution]
    maps: dict[int, int] = {}
    for size, multiple in zip(sizes, multiples, strict=True):
        maps.setdefault(size, width * multiple)  # attention follows the first map of a size
    return maps


def num_discriminator_blocks(family: str, resolution: int) -> int:
    """Return how many blocks (of "dcgan": hidden layers) of a discriminator can be frozen."""
    if family == "dcgan":
        return len(DCGAN_DISCRIMINATOR)
    if family == "projected":
        return 0  # none that could be frozen: the first layers are frozen in any case
    return len(RESIDUAL_DISCRIMINATOR[resolution])
