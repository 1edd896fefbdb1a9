"""heykeetae/Self-Attention-GAN: sagan_models.py."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parity.case import Case, import_from

MARK = "sagan_models.py"


def cases(checkout: Path, small: bool) -> Iterator[Case]:
    """Yield the networks as they are, or narrow ones with attention as wide as its input.

    The code sets the channels of attention to 128, 64, 256 and 512, which fits a width of 64 only.
    """
    vars(sys.modules["torch.optim.optimizer"]).setdefault("required", None)  # imported, not used
    (models,) = import_from(checkout, "sagan_models")
    latent_size, width_g, width_d = (8, 8, 2) if small else (128, 64, 64)
    generator = models.Generator(1, 64, latent_size, width_g)
    discriminator = models.Discriminator(1, 64, width_d)
    for network, channels in (
        (generator, (2 * width_g, width_g)),
        (discriminator, (4 * width_d, 8 * width_d)),
    ):
        network.attn1, network.attn2 = (models.Self_Attn(number, "relu") for number in channels)
    yield Case(
        name=f"64 pixels, widths {width_g} and {width_d}, no labels",
        generator=generator,
        discriminator=discriminator,
        generate=lambda latents, labels: generator(latents)[0],
        judge=lambda images, labels: discriminator(images)[0],
        resolution=64,
        latent_size=latent_size,
        num_classes=0,
        saved=_saved,
    )


def _saved(generator: Any, discriminator: Any) -> tuple[Any, Any]:
    """As trainer.py saves them; G as under `--parallel`."""
    return {f"module.{name}": tensor for name, tensor in generator.items()}, discriminator
