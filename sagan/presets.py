"""The presets: one recipe each, published or ours. To add a preset, add an entry to `PRESETS`."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Preset(BaseModel):
    """One recipe.

    Attributes:
        source: where it comes from.
        settings: the fields that differ from the defaults.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    settings: dict[str, Any]


_SAGAN_128: dict[str, Any] = dict(
    resolution=128, channels_g=64, channels_d=64, attention_g=(32,), attention_d=(32,),
    batch_size=256, lr_g=1e-4, lr_d=4e-4, beta1=0.0, beta2=0.9, steps=1_000_000,
    init="xavier", checkpoint_every=5000, sample_every=1000, log_every=100,
)  # fmt: skip

# D knows photos from the start. The rates are five times those of Sauer et al. 2021: with dot
# products, every position would soon attend to one key. Without translation the images of a class
# would soon be alike.
_PROJECTED: dict[str, Any] = dict(
    family="projected", channels_d=64, attention_scores="cosine", reuse_fakes=True, lr_g=1e-3,
    lr_d=1e-3, beta2=0.99, ema_half_life=10_000, augment=1.0, augment_with=("translation",),
    steps=1_000_000,
)  # fmt: skip

_PROJECTED_FOR_HOURS = _PROJECTED | dict(
    channels_g=16, batch_size=32, class_loss=0.25, lr_decay=0.5, steps=20_000,
    checkpoint_every=1000, sample_every=1000, log_every=100,
)  # fmt: skip

# The paper's own parts at sizes for a CPU.
_CLASSIC_FOR_HOURS: dict[str, Any] = dict(
    batch_size=16, d_steps=2, lr_g=2e-4, lr_d=4e-4, ema_half_life=20_000, augment="adaptive",
    steps=20_000, checkpoint_every=1000, sample_every=1000, log_every=100,
)  # fmt: skip

PRESETS = {
    "smoke": Preset(
        source="ours: seconds on a CPU, for tests and to try out a data set",
        settings=dict(
            resolution=32, channels_g=16, channels_d=16, latent_size=32, batch_size=16,
            lr_g=2e-4, lr_d=4e-4, ema_half_life=500, steps=50, checkpoint_every=25,
            sample_every=25, log_every=5,
        ),
    ),
    "demo-32": Preset(
        source="ours: something to look at after three minutes on two cores",
        settings=_PROJECTED | dict(
            resolution=32, channels_g=16, attention_d=(8,), batch_size=16,
            checkpoint_every=500, sample_every=500, log_every=25,
        ),
    ),
    "cpu-32": Preset(
        source="ours: an hour or two on two cores",
        settings=_PROJECTED_FOR_HOURS | dict(resolution=32, attention_d=(8,)),
    ),
    "cpu-64": Preset(
        source="ours: an hour or two on two cores",
        settings=_PROJECTED_FOR_HOURS | dict(resolution=64, attention_d=(8,)),
    ),
    "cpu-128": Preset(
        source="ours: cpu-64 carried over to 128 pixels; not tried yet",
        settings=_PROJECTED_FOR_HOURS | dict(
            resolution=128, attention_g=(32,), attention_d=(16,),
        ),
    ),
    "classic-32": Preset(
        source="ours: no frozen network, for hours on two cores; before 2026-11-30 it was cpu-32",
        settings=_CLASSIC_FOR_HOURS | dict(resolution=32, channels_g=32, channels_d=32),
    ),
    "classic-64": Preset(
        source="ours: no frozen network, for hours on two cores; before 2026-11-30 it was cpu-64",
        settings=_CLASSIC_FOR_HOURS | dict(resolution=64, channels_g=24, channels_d=16),
    ),
    "sagan-32": Preset(
        source="StudioGAN's CIFAR-10 configuration (Kang et al. 2023)",
        settings=dict(
            resolution=32, channels_g=64, channels_d=64, batch_size=64, d_steps=5,
            lr_g=2e-4, lr_d=2e-4, beta1=0.5, beta2=0.999, steps=100_000,
        ),
    ),
    "sagan-64": Preset(
        source="StudioGAN's 64 x 64 configurations (Kang et al. 2023)",
        settings=dict(
            resolution=64, channels_g=64, channels_d=64, attention_g=(32,), attention_d=(32,),
            batch_size=256, lr_g=1e-4, lr_d=4e-4, beta1=0.0, beta2=0.999, steps=100_000,
        ),
    ),
    "sagan-128": Preset(
        source="Zhang et al. 2018 and its released code (which leaves beta2 at 0.999)",
        settings=_SAGAN_128,
    ),
    "sagan-128-studiogan": Preset(
        source="StudioGAN's ImageNet configuration (Kang et al. 2023): attention at 64 x 64",
        settings=_SAGAN_128 | dict(
            attention_g=(64,), attention_d=(64,), beta2=0.999, init="orthogonal",
        ),
    ),
    "sagan-256": Preset(
        source="ours, sagan-128 with one block more, after StudioGAN's 256 layout",
        settings=_SAGAN_128 | dict(resolution=256, attention_g=(64,), attention_d=(64,)),
    ),
    "sagan-128-long-batch": Preset(
        source="mmgeneration's best SAGAN (sagan_128 noaug, after BigGAN-PyTorch's SAGAN script)",
        settings=_SAGAN_128 | dict(
            attention_g=(64,), attention_d=(64,), accumulation=8, beta2=0.999,
            ema_half_life=177_000, flip=False, spectral_norm_eps=1e-8,
        ),
    ),
    "dcgan-64": Preset(
        source="the popular PyTorch SAGAN (heykeetae/Self-Attention-GAN)",
        settings=dict(
            family="dcgan", resolution=64, channels_g=64, channels_d=64, conditional=False,
            attention_g=(16, 32), attention_d=(8, 4), attention_form="full",
            spectral_norm_eps=1e-12, batch_size=64, lr_g=1e-4, lr_d=4e-4, beta1=0.0, beta2=0.9,
            flip=False, steps=1_000_000, checkpoint_every=1000,
        ),
    ),
}  # fmt: skip


class Rung(BaseModel):
    """A preset that a plan for a time limit may choose.

    Attributes:
        preset: its name.
        from_steps: with fewer steps than this, the preset before it draws better images.
    """

    model_config = ConfigDict(frozen=True)

    preset: str
    from_steps: int = 0


# By resolution, from the cheapest step to the dearest. Batches of 16 drew the better faces in five
# minutes of a slow core, and batches of 32 photos as good in ten, with 1,000 steps.
LADDERS = {
    32: (Rung(preset="demo-32"), Rung(preset="cpu-32", from_steps=1000)),
    64: (Rung(preset="cpu-64"),),
    128: (Rung(preset="cpu-128"),),
    256: (Rung(preset="sagan-256"),),
}
