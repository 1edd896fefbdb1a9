"""The configuration of a training run, frozen and validated.

Nothing here imports torch, so that the command line starts fast.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sagan.errors import SaganError, similar_words
from sagan.images.shape import Colors, ImageShape, Resolution
from sagan.nn.channels import (
    QUERY_DIVISOR,
    check_layout,
    discriminator_feature_maps,
    generator_feature_maps,
    generator_start,
    num_discriminator_blocks,
)
from sagan.presets import PRESETS

MAX_STEPS = 10**9
Positive = Annotated[int, Field(gt=0, le=MAX_STEPS)]
Channels = Annotated[int, Field(gt=0, le=4096)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]

DEFAULT_RESOLUTION = 32

_FLAGS = (
    "conditional", "spectral_norm_g", "spectral_norm_d", "rectified_skip", "flip", "reuse_fakes",
    "deterministic",
)  # fmt: skip


class Config(BaseModel):
    """Everything that determines what is trained and how, except the data and the device."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    family: Literal["residual", "projected", "dcgan"] = Field(
        "residual", description="network family; projected: D on top of a frozen network"
    )
    resolution: Resolution = Field(
        DEFAULT_RESOLUTION,
        description="side of the images in pixels: 4 to 7 times 8, 16, 32, 64 or 128; or 96x64",
    )
    colors: Colors = Field("rgb", description="of the images; rgba: RGB and opacity")
    channels_g: Channels = Field(64, description="base width of G, which its layout multiplies")
    channels_d: Channels = Field(64, description="base width of D, which its layout multiplies")
    latent_size: Channels = Field(128, description="length of a latent vector")
    conditional: bool | None = Field(None, description="use labels; null: if the data has them")
    attention_g: tuple[int, ...] = Field((16,), description="sides of G's maps with attention")
    attention_d: tuple[int, ...] = Field((16,), description="sides of D's maps with attention")
    attention_form: Literal["full", "paper", "pooled"] = Field(
        "pooled", description="published form of the attention layer"
    )
    attention_scores: Literal["dot", "cosine"] = Field(
        "dot", description="cosine: of keys and queries of unit length, times a learned number"
    )
    attention_block: Literal["attention", "residual", "residual-macs"] = Field(
        "attention",
        description="residual: the paper's control, as large, in place of attention; "
        "residual-macs: with as many multiplications",
    )
    spectral_norm_g: bool = Field(True, description="spectral normalization in G")
    spectral_norm_d: bool = Field(True, description="spectral normalization in D")
    spectral_norm_eps: float = Field(
        1e-6, gt=0, le=1e-2, description="lower bound on norms in spectral normalization"
    )
    rectified_skip: bool = Field(
        False, description="D's skips get rectified inputs, as an in-place ReLU made them elsewhere"
    )
    init: Literal["orthogonal", "xavier", "normal"] = Field(
        "orthogonal", description="initial weights of the residual family; dcgan uses torch's"
    )

    loss: Literal["hinge", "non-saturating", "wasserstein-gp"] = Field(
        "hinge", description="adversarial loss"
    )
    batch_size: Positive = Field(64, description="images per update, over all processes")
    accumulation: Positive = Field(1, description="micro-batches of an update in each process")
    batch_norm: Literal["auto", "shared", "local"] = Field(
        "auto", description="of G: over all processes or each for itself; auto: shared on GPUs"
    )
    d_steps: Annotated[int, Field(gt=0, le=100)] = Field(1, description="D updates per G update")
    reuse_fakes: bool = Field(
        False, description="update G with the fakes of D's last update, not with new ones"
    )
    lr_g: LearningRate = Field(1e-4, description="learning rate of G")
    lr_d: LearningRate = Field(4e-4, description="learning rate of D")
    lr_decay: float = Field(
        0.0, ge=0, le=1, description="share of the steps, the last, in which both rates fall to 0"
    )
    beta1: Beta = Field(0.0, description="decay of Adam's first moment")
    beta2: Beta = Field(0.999, description="decay of Adam's second moment")
    ema_half_life: float = Field(
        0.0, ge=0, description="half-life of G's weight average in images; 0 disables"
    )
    class_loss: float = Field(
        0.0, ge=0, le=100, description="weight for G of a class loss on D's frozen features"
    )
    shuffle_window: int = Field(0, ge=0, description="shards to shuffle together; 0: all images")
    flip: bool = Field(True, description="randomly mirror real images")
    augment: Literal["adaptive"] | Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="probability of differentiable augmentation, or adaptive"
    )
    augment_with: tuple[Literal["color", "translation", "cutout"], ...] = Field(
        ("color", "translation", "cutout"), description="what augmentation does, in this order"
    )

    freeze_d: int = Field(
        0, ge=0, description="D's first blocks that keep the weights of --from (FreezeD)"
    )

    steps: Positive = Field(100_000, description="total number of G updates")
    minutes: float = Field(
        0.0, ge=0, le=10**6, description="time limit that decides the number of steps; 0: none"
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="auto: bfloat16 if the processor multiplies it natively, float16 on older GPUs "
        "with tensor cores, else float32",
    )
    compile: Literal["auto", "none", "inductor", "graphs"] = Field(
        "auto", description="the passes of a step: by torch.compile, or as CUDA graphs; auto: none"
    )
    on_nonfinite: Literal["stop", "skip"] = Field(
        "stop", description="if a loss or gradient is not finite: stop, or skip the update"
    )
    deterministic: bool = Field(
        False, description="on GPUs: only kernels that give the same bits each time; slower"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="determines all random numbers")
    checkpoint_every: Positive = Field(1000, description="steps between checkpoints")
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="most minutes between checkpoints; 0 disables"
    )
    keep_every: int = Field(
        0, ge=0, le=10**9, description="save and keep every N-th step's checkpoint too; 0 disables"
    )
    sample_every: Positive = Field(500, description="steps between sample grids")
    log_every: Positive = Field(50, description="steps between log lines")
    evaluate_every: int = Field(
        500, ge=0, le=10**9, description="steps between evaluations; 0 disables"
    )
    evaluate_share: float = Field(
        0.05, ge=0, le=1, description="largest share of the time spent on evaluations"
    )

    @model_validator(mode="after")
    def _check_combination(self) -> "Config":
        check_layout(self.family, self.shape)
        if self.conditional and not self.takes_labels:
            raise ValueError("family dcgan is unconditional: give conditional=false")
        if self.family == "dcgan" and self.init != "orthogonal":
            raise ValueError("family dcgan uses torch's initial weights: leave init out")
        if self.family != "residual" and self.rectified_skip:
            raise ValueError(f"family {self.family}: D has no skips: leave rectified_skip out")
        if self.family != "projected" and self.class_loss:
            raise ValueError(f"family {self.family}: D has no frozen part: leave class_loss out")
        if self.augment == "adaptive" and self.loss == "wasserstein-gp":
            raise ValueError(
                "augment=adaptive depends on the sign of D's logits, which has no meaning with "
                "loss=wasserstein-gp: give augment=0 or another probability"
            )
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size={self.batch_size} is not a multiple of "
                f"accumulation={self.accumulation}"
            )
        if self.reuse_fakes and self.accumulation > 1:
            raise ValueError("reuse_fakes keeps all fakes in memory: give accumulation=1")
        if self.reuse_fakes and self.loss == "wasserstein-gp":
            raise ValueError("loss=wasserstein-gp works with new fakes only: leave reuse_fakes out")
        maps_g = generator_feature_maps(self.family, self.shape, self.channels_g)
        maps_d = discriminator_feature_maps(self.family, self.shape, self.channels_d)
        _check_attention("g", self.attention_g, self._evenly_sided(maps_g))
        _check_attention("d", self.attention_d, self._evenly_sided(maps_d))
        blocks = num_discriminator_blocks(self.family, self.shape)
        if self.freeze_d > blocks:
            raise ValueError(
                f"freeze_d={self.freeze_d} is more than the {blocks} blocks that D has here"
            )
        return self

    @field_validator("resolution")
    @classmethod
    def _spell_resolution(cls, value: Resolution) -> Resolution:
        return ImageShape.of(value).resolution  # a square has one spelling

    def _evenly_sided(self, maps: Mapping[int, int]) -> dict[int, int]:
        """Return the maps that 2x2 pooling divides into whole cells."""
        return {
            side: channels
            for side, channels in maps.items()
            if not any(number % 2 for number in self.shape.feature_map(side))
        }

    @field_validator("*", mode="before")
    @classmethod
    def _reject_booleans_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name not in _FLAGS:
            raise ValueError("input should not be true or false")  # pydantic takes true for 1
        return value

    @property
    def shape(self) -> ImageShape:
        """The shape of the images, (H, W, C)."""
        return ImageShape.of(self.resolution, self.colors)

    @property
    def takes_labels(self) -> bool:
        """Whether networks of this family can be conditional."""
        return self.family != "dcgan"

    def with_labels(self, labeled: bool) -> "Config":
        """Return this configuration with `conditional` decided, by the data if it is not yet.

        Args:
            labeled: whether the data has labels.
        """
        if self.conditional is not None:
            return self
        return self.model_copy(update={"conditional": labeled and self.takes_labels})

    def to_json(self) -> str:
        """Return the configuration as indented JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"


def _check_attention(network: str, sizes: Sequence[int], maps: Mapping[int, int]) -> None:
    """Check that attention follows feature maps that the network has and that are wide enough.

    Args:
        network: "g" or "d".
        sizes: sides of the maps with attention.
        maps: all the network's feature maps: side -> channels.

    Raises:
        ValueError: they are not.
    """
    key = f"attention_{network}"
    for size in sizes:
        if size not in maps:
            choices = ", ".join(map(str, maps))
            raise ValueError(f"{key} has no feature map of side {size}: choose from {choices}")
        if maps[size] < QUERY_DIVISOR:
            raise ValueError(
                f"{key}: the feature map of side {size} has {maps[size]} channels, but attention "
                f"needs {QUERY_DIVISOR}: increase channels_{network}"
            )
    if len(set(sizes)) != len(sizes):
        raise ValueError(f"{key} contains a size twice: give each once")


# What may change when a run is resumed: it affects how long and how often, not what is trained.
MAY_CHANGE = (
    "steps",
    "minutes",
    "checkpoint_every",
    "checkpoint_minutes",
    "keep_every",
    "sample_every",
    "log_every",
    "evaluate_every",
    "evaluate_share",
    "on_nonfinite",
)


def resolve(preset: str, overrides: Mapping[str, Any] | None = None) -> Config:
    """Return a preset's configuration with some fields replaced.

    Raises:
        SaganError: the preset or a field is unknown, or a value is invalid.
    """
    if preset not in PRESETS:
        raise SaganError(f"unknown preset {preset!r}{similar_words(preset, PRESETS)}")
    return parse_config(replaced(PRESETS[preset].settings, overrides or {}))


def replaced(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of which some are replaced, for `parse_config`.

    With another resolution, attention stays after the same blocks where these have larger maps:
    16 x 16 at 32 or 64 pixels becomes 24 x 24 at 48 or 96.
    """
    moved: dict[str, Any] = {}
    with suppress(ValueError):  # an impossible resolution is reported by `parse_config`
        before, after = (
            min(generator_start(ImageShape.of(each.get("resolution", DEFAULT_RESOLUTION))))
            for each in (settings, {**settings, **overrides})
        )
        for key in ("attention_g", "attention_d"):
            sides = settings.get(key, Config.model_fields[key].default)
            moved[key] = tuple(side * after // before for side in sides)
    return {**settings, **moved, **overrides}


def resume_config(saved: Config, overrides: Mapping[str, Any]) -> Config:
    """Return the configuration to resume a run with: the saved one with some fields replaced.

    What its preset has become since then does not matter.

    Raises:
        SaganError: a field is unknown, or a value is invalid.
    """
    # The data decides again whether there are labels: other data is then reported as a change.
    undecided = {"conditional": None} if saved.conditional else {}
    return parse_config(saved.model_dump() | undecided | dict(overrides))


def parse_config(settings: Mapping[str, Any]) -> Config:
    """Return the configuration with these fields and values, such as those of a config.json.

    Raises:
        SaganError: a field is unknown, or a value is invalid.
    """
    check_keys(settings)
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise SaganError(_describe(error)) from None


def check_keys(settings: Mapping[Any, Any]) -> None:
    """Check that all keys are settings.

    Raises:
        SaganError: one is not.
    """
    for key in settings:
        if key not in Config.model_fields:
            known = similar_words(str(key), Config.model_fields)
            raise SaganError(f"unknown setting {key!r}{known}")


def forbidden_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], allowed: Collection[str]
) -> list[str]:
    """Return "key was a and is now b" for each field that both have and that must not change.

    Args:
        before: fields and values of a configuration.
        after: fields and values of another one.
        allowed: fields that may change, such as `MAY_CHANGE`.
    """
    return [
        f"{key} was {before[key]} and is now {value}"
        for key, value in after.items()
        if key in before and before[key] != value and key not in allowed
    ]


def _describe(error: ValidationError) -> str:
    """Describe the first problem in one line."""
    first, *others = error.errors()
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    key = first["loc"][0]
    # A union such as that of `augment` has one error for each type.
    alternatives = [other["msg"] for other in others if other["loc"][0] == key]
    problem = " or ".join(text[0].lower() + text[1:] for text in [message, *alternatives])
    return f"setting {key!r} cannot be {first['input']!r}: {problem}"
