"""A configuration is valid, or an error says in one line why not."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sagan.build import build_discriminator, build_generator
from sagan.config import Config, parse_config, resolve
from sagan.errors import SaganError
from sagan.presets import PRESETS
from sagan.training.assignments import parse_assignments

# Networks and optimizer of each published recipe: DESIGN, "Presets".
PUBLISHED: dict[str, dict[str, Any]] = {
    "smoke": dict(resolution=32, channels_g=16, channels_d=16, batch_size=16),
    "cpu-32": dict(resolution=32),
    "cpu-64": dict(resolution=64),
    "sagan-32": dict(
        resolution=32, channels_g=256 // 4, channels_d=128 // 2, attention_g=(16,),
        attention_d=(16,), batch_size=64, lr_g=2e-4, lr_d=2e-4, beta1=0.5, beta2=0.999, d_steps=5,
        steps=100_000, attention_form="pooled", spectral_norm_g=True, spectral_norm_d=True,
        ema_half_life=0.0, loss="hinge",
    ),
    "sagan-64": dict(
        resolution=64, channels_g=64, channels_d=64, attention_g=(32,), attention_d=(32,),
        batch_size=256, lr_g=1e-4, lr_d=4e-4, beta1=0.0, beta2=0.999, d_steps=1, steps=100_000,
        attention_form="pooled", spectral_norm_g=True, spectral_norm_d=True, loss="hinge",
    ),
    "sagan-128": dict(
        resolution=128, channels_g=64, channels_d=64, attention_g=(32,), attention_d=(32,),
        batch_size=256, lr_g=1e-4, lr_d=4e-4, beta1=0.0, beta2=0.9, d_steps=1, steps=1_000_000,
        attention_form="pooled", spectral_norm_g=True, spectral_norm_d=True, ema_half_life=0.0,
        loss="hinge",
    ),
    "sagan-256": dict(
        resolution=256, channels_g=64, channels_d=64, attention_g=(64,), attention_d=(64,),
        batch_size=256, lr_g=1e-4, lr_d=4e-4, beta1=0.0, beta2=0.9, d_steps=1, steps=1_000_000,
        attention_form="pooled",
    ),
    "sagan-128-studiogan": dict(
        resolution=128, channels_g=64, channels_d=64, attention_g=(64,), attention_d=(64,),
        batch_size=256, lr_g=1e-4, lr_d=4e-4, beta1=0.0, beta2=0.999, d_steps=1, steps=1_000_000,
        attention_form="pooled", spectral_norm_g=True, spectral_norm_d=True, ema_half_life=0.0,
        init="orthogonal", loss="hinge",
    ),
    "sagan-128-long-batch": dict(
        resolution=128, channels_g=64, channels_d=64, attention_g=(64,), attention_d=(64,),
        batch_size=32 * 8, accumulation=8, init="xavier", flip=False, spectral_norm_eps=1e-8,
    ),
    "dcgan-64": dict(
        family="dcgan", resolution=64, channels_g=64, channels_d=64, attention_g=(16, 32),
        attention_d=(8, 4), attention_form="full", batch_size=64, lr_g=1e-4, lr_d=4e-4, beta1=0.0,
        beta2=0.9, conditional=False, loss="hinge",
    ),
}  # fmt: skip


def refusal(**changes: Any) -> str:
    with pytest.raises(SaganError) as caught:
        resolve("smoke", changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------------------------------------
# Presets


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_has_its_published_numbers(name: str) -> None:
    config = resolve(name)
    actual = {key: getattr(config, key) for key in PUBLISHED[name]}
    assert actual == PUBLISHED[name]


def test_the_long_batch_preset_averages_weights_and_the_papers_do_not() -> None:
    assert resolve("sagan-128-long-batch").ema_half_life > 0
    assert resolve("sagan-32").ema_half_life == 0
    assert resolve("sagan-128").ema_half_life == 0


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_resolves_and_names_its_source(name: str) -> None:
    assert len(PRESETS[name].source) > 10
    config = resolve(name)
    assert config.batch_size % config.accumulation == 0


def test_all_published_presets_exist() -> None:
    assert set(PUBLISHED) <= set(PRESETS)


def test_an_unknown_preset_is_refused_with_suggestions() -> None:
    with pytest.raises(SaganError, match=r"'sagan-23'.*did you mean sagan-32"):
        resolve("sagan-23")
    with pytest.raises(SaganError, match=r"choose from smoke, .*dcgan-64"):
        resolve("?????")


def test_overrides_replace_a_presets_fields_and_nothing_else() -> None:
    plain, changed = resolve("sagan-32"), resolve("sagan-32", {"lr_d": 0.5})
    assert changed.lr_d == 0.5
    assert plain.model_copy(update={"lr_d": 0.5}) == changed
    assert resolve("sagan-32") == plain


# ---------------------------------------------------------------------------------------------
# Validation


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        resolve("smoke").steps = 5


@pytest.mark.parametrize(
    ("key", "meant"), [("lr", "lr_"), ("step", "steps"), ("chanels_g", "channels_g"), ("Seed", "")]
)
def test_an_unknown_key_is_refused_with_suggestions(key: str, meant: str) -> None:
    message = refusal(**{key: 1})
    assert repr(key) in message
    assert meant in message.split("did you mean", 1)[-1]
    with pytest.raises(SaganError) as caught:
        parse_assignments([f"{key}=1"])
    assert meant in str(caught.value)
    assert repr(key) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", -1), ("steps", 0), ("steps", 1.5), ("steps", "many"), ("steps", None),
        ("batch_size", 0), ("batch_size", "x"), ("lr_g", 0), ("lr_g", -1e-4), ("lr_g", 2),
        ("lr_g", float("nan")), ("lr_g", "fast"), ("lr_d", float("inf")), ("beta1", 1),
        ("beta2", 1.0), ("beta1", -0.1), ("resolution", 0), ("resolution", "big"),
        ("channels_g", 0), ("channels_d", 5000), ("latent_size", 0), ("ema_half_life", -1),
        ("augment", 1.5), ("augment", -0.1), ("augment", "yes"), ("augment_with", ["shear"]),
        ("precision", "float64"),
        ("loss", "hing"), ("attention_form", "big"), ("seed", -1), ("seed", 2**63),
        ("attention_g", "16"), ("attention_g", 16), ("attention_d", ["a"]), ("flip", "perhaps"),
        ("conditional", 3), ("init", ""), ("d_steps", 0), ("d_steps", 1000),
        ("spectral_norm_eps", 0), ("log_every", 0), ("family", "vae"), ("flip", [True]),
    ],
)  # fmt: skip
def test_an_invalid_value_is_refused_in_one_line_with_key_and_value(key: str, value: Any) -> None:
    message = refusal(**{key: value})
    assert key in message
    shown = value[0] if key in ("attention_d", "augment_with") else value
    assert repr(shown) in message


@pytest.mark.parametrize(("key", "value"), [("batch_size", True), ("lr_g", True), ("steps", False)])
def test_true_and_false_are_not_numbers(key: str, value: bool) -> None:
    """`--set batch_size=true` is a mistake, not a batch of one."""
    assert key in refusal(**{key: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_g": (4,)},
        {"attention_g": (64,)},
        {"attention_d": (32,)},
        {"attention_d": (4,)},
        {"attention_d": (16, 16)},
        {"attention_g": (12,)},
        {"resolution": 64, "attention_d": (64,)},
        {"family": "dcgan", "resolution": 64, "attention_g": (64,)},
    ],
)
def test_attention_at_a_size_without_a_feature_map_is_refused(changes: dict[str, Any]) -> None:
    message = refusal(**changes)
    assert "attention_" in message


@pytest.mark.parametrize("resolution", [16, 50, 100, 1024])
def test_a_resolution_without_a_layout_is_refused_with_what_has_one(resolution: int) -> None:
    message = refusal(resolution=resolution, attention_g=(), attention_d=())
    assert f"no layout for {resolution} x {resolution}: " in message


def test_attention_stays_after_the_same_blocks_at_another_resolution() -> None:
    at_48, at_96 = resolve("smoke", {"resolution": 48}), resolve("sagan-64", {"resolution": 96})
    assert (at_48.attention_g, at_48.attention_d) == ((24,), (24,))
    assert (at_96.attention_g, at_96.attention_d) == ((48,), (48,))
    assert resolve("smoke", {"resolution": 48, "attention_g": (12,)}).attention_g == (12,)
    assert resolve("sagan-64", {"resolution": 128}).attention_g == (32,)
    assert "choose from 12, 24, 48" in refusal(resolution=48, attention_g=(16,))


def test_maps_with_odd_sides_are_not_offered_to_attention() -> None:
    """2x2 pooling would leave out their last row and column."""
    assert "choose from 40, 20, 10" in refusal(resolution=80, attention_d=(5,))
    assert resolve("smoke", {"resolution": 80, "attention_d": (10,)})


def test_the_frozen_network_of_a_projected_discriminator_divides_images_by_32() -> None:
    assert resolve("smoke", {"family": "projected", "resolution": 96, "attention_d": (24, 12)})
    assert "multiples of 32" in refusal(family="projected", resolution=80)
    assert "multiples of 16" in refusal(family="projected", resolution=40)


ACCEPTED_SIZES = {
    ("residual", 48): ((12, 24, 48), (24, 12)),
    ("residual", 96): ((12, 24, 48, 96), (48, 24, 12, 6)),
    ("projected", 48): ((12, 24, 48), (24, 12, 6)),
    ("residual", 512): ((8, 16, 32, 64, 128, 256, 512), (256, 128, 64, 32, 16, 8, 4)),
    ("residual", 32): ((8, 16, 32), (16, 8)),
    ("residual", 64): ((8, 16, 32, 64), (32, 16, 8, 4)),
    ("residual", 128): ((8, 16, 32, 64, 128), (64, 32, 16, 8, 4)),
    ("residual", 256): ((8, 16, 32, 64, 128, 256), (128, 64, 32, 16, 8, 4)),
    ("dcgan", 64): ((4, 8, 16, 32), (32, 16, 8, 4)),
}


@pytest.mark.parametrize(("family", "resolution"), ACCEPTED_SIZES)
def test_attention_is_accepted_exactly_at_the_sizes_of_feature_maps(
    family: str, resolution: int
) -> None:
    sizes_g, sizes_d = ACCEPTED_SIZES[family, resolution]
    for size in (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512):
        for key, accepted in (("attention_g", sizes_g), ("attention_d", sizes_d)):
            empty = {"attention_g": (), "attention_d": ()}
            settings = {"family": family, "resolution": resolution, **empty, key: (size,)}
            if size in accepted:
                assert getattr(resolve("smoke", settings), key) == (size,)
            else:
                with pytest.raises(SaganError):
                    resolve("smoke", settings)
    # The networks agree.
    config = resolve(
        "smoke",
        {
            "family": family, "resolution": resolution, "attention_g": sizes_g,
            "attention_d": sizes_d, "channels_g": 8, "channels_d": 8,
        },
    )  # fmt: skip
    generator = build_generator(config, 0, lambda weight: weight)
    discriminator = build_discriminator(config, 0, lambda weight: weight)
    assert {int(size) for size in generator.self_attention} == set(sizes_g)
    assert {int(size) for size in discriminator.self_attention} == set(sizes_d)


@pytest.mark.parametrize(
    "changes",
    [
        {"channels_g": 1},
        {"channels_d": 3},
        {"family": "dcgan", "resolution": 64, "channels_g": 4, "attention_g": (32,)},
    ],
)
def test_a_configuration_too_narrow_for_its_attention_is_refused(
    changes: dict[str, Any],
) -> None:
    """Queries have C/8 channels, so C is at least 8. The networks would raise a traceback."""
    assert "channels" in refusal(**changes)


def test_the_deconvolution_family_has_only_resolution_64_and_is_unconditional() -> None:
    assert "64" in refusal(family="dcgan", resolution=32)
    assert "unconditional" in refusal(family="dcgan", resolution=64, conditional=True)
    assert "leave init out" in refusal(family="dcgan", resolution=64, init="normal")
    assert "no skips" in refusal(family="dcgan", resolution=64, rectified_skip=True)


def test_a_projected_discriminator_has_attention_on_its_frozen_features() -> None:
    assert resolve("smoke", {"family": "projected", "attention_d": (16, 8, 4)})
    assert "choose from 16, 8, 4, 2" in refusal(family="projected", attention_d=(32,))
    assert "no skips" in refusal(family="projected", rectified_skip=True)
    assert "0 blocks" in refusal(family="projected", freeze_d=1)


def test_fakes_are_reused_only_where_all_of_them_are_kept() -> None:
    assert "accumulation=1" in refusal(reuse_fakes=True, batch_size=8, accumulation=2)
    assert "leave class_loss out" in refusal(class_loss=0.5)
    assert "leave reuse_fakes out" in refusal(reuse_fakes=True, loss="wasserstein-gp")


def test_augmentation_cannot_adapt_to_wasserstein_logits() -> None:
    assert "give augment=0" in refusal(augment="adaptive", loss="wasserstein-gp")


def test_a_batch_size_that_is_not_a_multiple_of_accumulation_is_refused() -> None:
    assert "multiple of accumulation" in refusal(batch_size=10, accumulation=4)


# ---------------------------------------------------------------------------------------------
# --set key=value


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("lr_g=1e-4", "lr_g", 1e-4),
        ("lr_g = 0.5 ", "lr_g", 0.5),
        ("batch_size=32", "batch_size", 32),
        ("attention_g=8,16", "attention_g", (8, 16)),
        ("attention_g=[8, 16]", "attention_g", (8, 16)),
        ("attention_g=(8,)", "attention_g", (8,)),
        ("attention_g=8", "attention_g", (8,)),
        ("attention_d=", "attention_d", ()),
        ("attention_d=[]", "attention_d", ()),
        ("flip=false", "flip", False),
        ("flip=False", "flip", False),
        ("conditional=null", "conditional", None),
        ("conditional=None", "conditional", None),
        ("conditional=true", "conditional", True),
        ("augment=adaptive", "augment", "adaptive"),
        ("augment=0.25", "augment", 0.25),
        ("augment_with=translation", "augment_with", ("translation",)),
        ("augment_with=cutout,color", "augment_with", ("cutout", "color")),
        ("precision=float32", "precision", "float32"),
        ("loss=wasserstein-gp", "loss", "wasserstein-gp"),
    ],
)
def test_an_assignment_has_the_type_of_its_field(assignment: str, key: str, value: Any) -> None:
    config = resolve("smoke", parse_assignments([assignment]))
    assert getattr(config, key) == value
    assert type(getattr(config, key)) is type(value)


def test_the_last_of_several_assignments_wins() -> None:
    assert parse_assignments(["steps=1", "seed=3", "steps=2"]) == {"steps": 2, "seed": 3}


@pytest.mark.parametrize("assignment", ["steps", "", "steps:3", "=3", " =3"])
def test_text_that_is_not_an_assignment_is_refused(assignment: str) -> None:
    with pytest.raises(SaganError) as caught:
        parse_assignments([assignment])
    assert "--set" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"":' * 100_000, "9" * 10_000, "-" * 1000, "\0"],
    ids=["arrays", "objects", "digits", "dashes", "null"],
)
@pytest.mark.parametrize("key", ["lr_g", "attention_g", "seed", "augment"])
def test_absurd_values_cause_at_most_an_error_in_one_line(key: str, text: str) -> None:
    check_one_line(lambda: resolve("smoke", parse_assignments([f"{key}={text}"])))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = st.sampled_from(sorted(Config.model_fields)) | st.text(max_size=20)


def check_one_line(change: Any) -> None:
    try:
        change()
    except SaganError as error:
        message = str(error)
        assert message
        assert len(message.splitlines()) == 1


@settings(max_examples=300)
@given(st.dictionaries(KEYS, JSON, max_size=3))
def test_any_settings_give_a_configuration_or_an_error_in_one_line(
    changes: dict[str, Any],
) -> None:
    check_one_line(lambda: resolve("smoke", changes))
    check_one_line(lambda: parse_config(changes))


@settings(max_examples=300)
@given(KEYS, st.text(max_size=20) | JSON.map(json.dumps))
def test_any_assignment_gives_a_configuration_or_an_error_in_one_line(key: str, text: str) -> None:
    check_one_line(lambda: resolve("smoke", parse_assignments([f"{key}={text}"])))


# ---------------------------------------------------------------------------------------------
# JSON


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_survives_json(name: str) -> None:
    config = resolve(name, {"seed": 2**63 - 1, "lr_g": 0.1 + 0.2})
    text = config.to_json()
    assert parse_config(json.loads(text)) == config
    assert set(json.loads(text)) == set(Config.model_fields)
    assert text.endswith("}\n")


def test_every_field_has_a_description() -> None:
    for name, field in Config.model_fields.items():
        assert field.description, name


def test_all_settings_of_the_contract_exist() -> None:
    contract = """resolution channels_g channels_d latent_size conditional attention_g attention_d
    attention_form spectral_norm_g spectral_norm_d loss batch_size accumulation d_steps lr_g lr_d
    beta1 beta2 ema_half_life flip augment precision seed checkpoint_every sample_every log_every"""
    assert set(contract.split()) <= set(Config.model_fields)


def test_importing_the_configuration_does_not_import_torch() -> None:
    code = (
        "import sys, sagan.config; sagan.config.resolve('smoke'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
