"""BigGAN-PyTorch: BigGAN.py with the options of scripts/launch_SAGAN_bs128x2_ema.sh."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parity.case import Case, import_from

MARK = "BigGAN.py"


def cases(checkout: Path, small: bool) -> Iterator[Case]:
    """Yield pairs of networks in the layouts that ours has; if `small`, the smallest."""
    (biggan,) = import_from(checkout, "BigGAN")
    if small:
        yield case(biggan, 32, 4, "16", num_classes=3)
        return
    yield case(biggan, 32, 16, "8_16", num_classes=5, mybn=True)
    yield case(biggan, 128, 8, "64", num_classes=5)
    yield case(biggan, 256, 8, "64", num_classes=3)


def case(
    biggan: Any, size: int, width: int, attention: str, num_classes: int, mybn: bool = False
) -> Case:
    """Build a pair of networks."""
    latent_size = 8 if width < 8 else 128
    # At 32 pixels, D_attn=16 puts attention after all four blocks of D, two sizes in truth.
    attention_d = "0" if size == 32 else attention
    widths = width, max(width // 2, 2) if size == 32 else width
    with contextlib.redirect_stdout(io.StringIO()):
        generator = biggan.Generator(
            G_ch=widths[0], dim_z=latent_size, resolution=size, G_attn=attention,
            n_classes=num_classes, G_shared=False, SN_eps=1e-8, G_init="xavier", mybn=mybn,
        )  # fmt: skip
        discriminator = biggan.Discriminator(
            D_ch=widths[1], resolution=size, D_attn=attention_d, n_classes=num_classes,
            SN_eps=1e-8, D_init="xavier",
        )  # fmt: skip
    return Case(
        name=f"{size} pixels, width {width}, {num_classes} classes, {'mybn' if mybn else 'bn'}",
        generator=generator,
        discriminator=discriminator,
        generate=lambda latents, labels: generator(latents, generator.shared(labels)),
        judge=discriminator,
        resolution=size,
        latent_size=latent_size,
        num_classes=num_classes,
        saved=lambda generator, discriminator: (generator, discriminator),
    )
