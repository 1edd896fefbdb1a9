"""A training that starts from a model: what it takes, where to, and that it resumes bit for bit."""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sagan.build import build_networks
from sagan.config import Config, resolve
from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.model import Model, export_model, open_model
from sagan.nn.base import DiscriminatorBase, GeneratorBase
from sagan.run import checkpoint, directory
from sagan.training.loop import train
from sagan.training.recorder import Reporter
from sagan.training.session import Session, prepare_session
from sagan.training.state import Training
from sagan.training.time_plan import make_plan
from sagan.training.transfer import start_config, start_from

SMALL: dict[str, Any] = {
    "channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 8, "precision": "float32",
}  # fmt: skip
OLD = ("ant", "bee", "cat")


def model_of(config: Config, classes: tuple[str, ...], **missing: bool) -> Model:
    """A model with random weights, tables and statistics, as after a long training."""
    rng = torch.Generator().manual_seed(7)
    networks = dict(
        zip(("ema", "discriminator"), build_networks(config, len(classes)), strict=True)
    )
    tensors = {}
    for name, network in networks.items():
        with torch.no_grad():
            for key, tensor in network.state_dict().items():
                if key.endswith("running_var"):
                    tensor += torch.rand(tensor.shape, generator=rng)
                elif tensor.is_floating_point() and not key.endswith((".u", ".v")):
                    tensor += 0.2 * torch.randn(tensor.shape, generator=rng)
        tensors[name] = {key: t.clone() for key, t in network.state_dict().items()}
    return Model(
        origin="old", config=config, classes=classes, fit="crop", fingerprint="", step=9, card="",
        read=lambda name: {} if missing.get(name) else tensors[name],
    )  # fmt: skip


def config_of(resolution: int = 32, **settings: Any) -> Config:
    chosen = SMALL | {"resolution": resolution, "conditional": True} | settings
    return resolve("smoke", chosen)


def networks_of(
    model: Model, config: Config, classes: tuple[str, ...]
) -> tuple[GeneratorBase, DiscriminatorBase]:
    """New networks with what they take from a model."""
    start = start_from(model, config, classes)
    networks = build_networks(config, len(classes))
    for name, network in zip(("generator", "discriminator"), networks, strict=True):
        network.load_state_dict(network.state_dict() | start.tensors[name])
        network.eval()
    return networks


def images_of(generator: GeneratorBase, label: int | None) -> np.ndarray:
    labels = None if label is None else [label] * 4
    return generator.sample(4, labels, seed=3)


def logits_of(discriminator: DiscriminatorBase, size: int = 32) -> np.ndarray:
    rng = np.random.default_rng(0)
    return discriminator.scores(rng.integers(0, 256, (6, size, size, 3), dtype=np.uint8))


# ---------------------------------------------------------------------------------------------
# Classes


PROJECTED: dict[str, Any] = {"family": "projected", "class_loss": 0.5}


@pytest.mark.parametrize(
    "settings", [{}, {"spectral_norm_g": False, "spectral_norm_d": False}, PROJECTED]
)
def test_networks_for_the_same_classes_in_another_order_are_the_same_functions(
    settings: dict[str, Any],
) -> None:
    config = config_of(**settings)
    model = model_of(config, OLD)
    old_g, old_d = networks_of(model, config, OLD)
    new = ("cat", "ant", "bee")
    g, d = networks_of(model, config, new)
    for label, name in enumerate(new):
        assert np.array_equal(images_of(g, label), images_of(old_g, OLD.index(name))), name
    np.testing.assert_allclose(
        logits_of(d), logits_of(old_d)[:, [OLD.index(name) for name in new]], rtol=1e-5
    )
    # Not trivially: classes differ from each other.
    assert not np.array_equal(images_of(g, 0), images_of(g, 1))
    assert np.abs(np.diff(logits_of(d), axis=1)).min() > 1e-4


def test_old_classes_are_the_models_own_networks() -> None:
    """Read and folded by code that does not know of transfers."""
    config = config_of()
    model = model_of(config, OLD)
    g, d = networks_of(model, config, OLD)
    assert np.abs(images_of(g, 1).astype(int) - images_of(model.generator(), 1)).max() <= 1
    np.testing.assert_allclose(logits_of(d), logits_of(model.discriminator()), rtol=1e-4)


def test_a_class_keeps_its_rows_by_name_and_a_new_one_starts_from_the_mean_of_all_old_ones() -> (
    None
):
    config = config_of()
    model = model_of(config, OLD)
    start = start_from(model, config, ("bee", "dog"))
    tables = {
        "generator": [k for k in model.read("ema") if k.endswith((".gain.weight", ".bias.weight"))],
        "discriminator": ["embedding.parametrizations.weight.original"],
    }
    assert len(tables["generator"]) == 2 * 2 * 3  # of two norms in three blocks
    for network, names in tables.items():
        before = model.read("ema" if network == "generator" else network)
        for name in names:
            bee, dog = start.tensors[network][name]
            assert torch.equal(bee, before[name][1])
            np.testing.assert_allclose(dog, before[name].numpy().mean(axis=0), rtol=1e-5)
    assert start.record.new_classes == ("dog",)
    assert start.record.fresh == ()


def test_each_head_and_the_classifier_of_a_projected_model_keep_their_rows_by_name() -> None:
    config = config_of(**PROJECTED)
    model = model_of(config, OLD)
    start = start_from(model, config, ("bee", "dog"))
    before, taken = model.read("discriminator"), start.tensors["discriminator"]
    tables = [name for name in before if "embedding" in name and name.endswith("original")]
    assert len(tables) == 5  # pixels and four feature maps
    for name in [*tables, "classifier.weight", "classifier.bias"]:
        bee, dog = taken[name]
        assert torch.equal(bee, before[name][1])
        np.testing.assert_allclose(dog, before[name].numpy().mean(axis=0), rtol=1e-5)
    assert start.record.fresh == ()
    unlabeled = start_from(model, config_of(**PROJECTED, conditional=False), ())
    assert not any("embedding" in n or "class" in n for n in unlabeled.tensors["discriminator"])
    assert unlabeled.record.fresh == ()
    back = start_from(model_of(config_of(**PROJECTED, conditional=False), ()), config, OLD)
    assert back.record.fresh == ("discriminator.classifier",)


def test_the_new_embeddings_sigma_is_its_largest_singular_value() -> None:
    config = config_of()
    tensors = start_from(model_of(config, OLD), config, ("bee", "dog", "elk")).tensors
    name = "embedding.parametrizations.weight"
    raw, u, v = (tensors["discriminator"][f"{name}.{part}"] for part in ("original", "0.u", "0.v"))
    largest = np.linalg.svd(raw.numpy())[1].max()
    assert float(u @ raw @ v) == pytest.approx(largest, rel=1e-4)


def test_every_class_of_a_conditional_network_starts_as_the_unconditional_model() -> None:
    config = config_of(conditional=False)
    model = model_of(config, ())
    old_g, old_d = networks_of(model, config, ())
    g, d = networks_of(model, config_of(), OLD)
    for label in range(3):
        # The conditional norm adds up the same numbers in another order.
        difference = images_of(g, label).astype(int) - images_of(old_g, None)
        assert np.abs(difference).max() <= 1
    # Every logit is an increasing straight line of the old one.
    for logits in logits_of(d).T:
        slope, offset = np.polyfit(logits_of(old_d)[:, 0], logits, 1)
        assert slope > 1
        np.testing.assert_allclose(logits, slope * logits_of(old_d)[:, 0] + offset, rtol=1e-4)


def test_an_unconditional_network_starts_as_the_mean_over_the_models_classes() -> None:
    model = model_of(config_of(), OLD)
    _, old_d = networks_of(model, config_of(), OLD)
    start = start_from(model, config_of(conditional=False), ())
    old, new = model.read("ema"), start.tensors["generator"]
    np.testing.assert_allclose(
        new["blocks.1.norm2.norm.weight"], old["blocks.1.norm2.gain.weight"].mean(0), rtol=1e-6
    )
    np.testing.assert_allclose(
        new["blocks.0.norm1.norm.bias"], old["blocks.0.norm1.bias.weight"].mean(0), rtol=1e-6
    )
    assert not any("gain" in name for name in new)
    assert not any("embedding" in name for name in start.tensors["discriminator"])
    _, d = networks_of(model, config_of(conditional=False), ())
    mean, logits = logits_of(old_d).mean(axis=1), logits_of(d)[:, 0]
    slope, offset = np.polyfit(mean, logits, 1)
    assert slope > 0
    np.testing.assert_allclose(logits, slope * mean + offset, rtol=1e-3)


# ---------------------------------------------------------------------------------------------
# Layers

# Block of the new network -> block of the old one with the same channels, read off the layouts.
BLOCKS = {
    (64, 128): ({1: 0, 2: 1, 3: 2, 4: 3}, {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}),
    (128, 64): ({0: 1, 1: 2, 2: 3, 3: 4}, {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}),
    (128, 256): ({0: 0, 1: 1, 3: 2, 4: 3, 5: 4}, {0: 0, 1: 1, 2: 2, 3: 3, 5: 4, 6: 5}),
}


@pytest.mark.parametrize(("old", "new"), BLOCKS)
def test_blocks_of_the_same_channels_are_taken_one_step_up_or_down(old: int, new: int) -> None:
    model = model_of(config_of(old, attention_g=(), attention_d=()), OLD)
    start = start_from(model, config_of(new, attention_g=(), attention_d=()), OLD)
    for network, blocks in zip(("generator", "discriminator"), BLOCKS[old, new], strict=True):
        before = model.read("ema" if network == "generator" else network)
        taken = start.tensors[network]
        numbers = {int(name.split(".")[1]) for name in taken if name.startswith("blocks.")}
        assert numbers == blocks.keys()
        for i, j in blocks.items():
            name = "parametrizations.weight.original"
            for layer in ("conv1", "conv2"):
                expected = before[f"blocks.{j}.{layer}.{name}"]
                assert torch.equal(taken[f"blocks.{i}.{layer}.{name}"], expected)
    same_ends = ("linear.bias", "to_rgb.bias", "norm.running_mean")
    assert {name for name in same_ends if name in start.tensors["generator"]} == set(same_ends)
    assert "embedding.parametrizations.weight.original" in start.tensors["discriminator"]
    assert len(start.record.fresh) == 2 * (new > old)


def test_a_projected_models_heads_are_taken_at_another_resolution_but_not_the_larger_pixels() -> (
    None
):
    model = model_of(config_of(32, **PROJECTED), OLD)
    start = start_from(model, config_of(64, **PROJECTED), OLD)
    # G's last block and the layers after it, and the layers of D that see pixels.
    assert start.record.fresh == (
        "generator.blocks.3", "generator.norm", "generator.to_rgb",
        *(f"discriminator.heads.pixels.layers.{i}" for i in range(5)),
    )  # fmt: skip


def test_attention_goes_with_the_block_that_it_follows() -> None:
    model = model_of(config_of(64, attention_g=(32,), attention_d=(16,)), OLD)
    moved = start_from(model, config_of(128, attention_g=(64,), attention_d=(32,)), OLD)
    query = "query.parametrizations.weight.original"
    for network, old, new in (("generator", 32, 64), ("discriminator", 16, 32)):
        before = model.read("ema" if network == "generator" else network)
        taken = moved.tensors[network][f"self_attention.{new}.{query}"]
        assert torch.equal(taken, before[f"self_attention.{old}.{query}"])
    stayed = start_from(model, config_of(128, attention_g=(32,), attention_d=(16,)), OLD)
    assert "generator.self_attention.32" in stayed.record.fresh
    assert "discriminator.self_attention.16" in stayed.record.fresh


def test_attention_in_another_place_starts_fresh_as_the_identity_and_the_rest_is_taken() -> None:
    model = model_of(config_of(attention_g=()), OLD)
    config = config_of(attention_g=(8,), attention_d=(8,), attention_form="paper")
    start = start_from(model, config, OLD)
    assert start.record.fresh == ("generator.self_attention.8", "discriminator.self_attention.8")
    old, _ = networks_of(model, config_of(attention_g=()), OLD)
    new, _ = networks_of(model, config, OLD)
    assert np.array_equal(images_of(new, 1), images_of(old, 1))


def test_another_form_of_attention_starts_fresh_as_a_whole() -> None:
    model = model_of(config_of(), OLD)
    start = start_from(model, config_of(attention_form="full"), OLD)
    assert start.record.fresh == ("generator.self_attention.16", "discriminator.self_attention.16")
    assert "self_attention.16.gamma" not in start.tensors["generator"]


def test_the_deconvolution_family_is_taken_whole() -> None:
    config = config_of(64, family="dcgan", conditional=False)
    start = start_from(model_of(config, ()), config, ())
    assert start.record.fresh == ()
    assert all(part == whole for part, whole in start.record.taken.values())


# ---------------------------------------------------------------------------------------------
# Settings, and what does not fit


def test_networks_are_the_models_and_the_recipe_the_presets_or_the_models() -> None:
    trained = {"lr_g": 0.003, "attention_g": (8,), "steps": 77, "beta1": 0.4, "d_steps": 5}
    model = model_of(config_of(**trained), OLD)
    own = start_config(model, None, {"lr_d": 0.5})
    assert (own.channels_g, own.attention_g, own.beta1, own.lr_d) == (8, (8,), 0.4, 0.5)
    assert (own.steps, own.lr_g, own.d_steps) == (2000, 4e-4, 1)
    assert own.conditional is None
    penalized = model_of(config_of(**trained, loss="wasserstein-gp"), OLD)
    assert start_config(penalized, None, {}).d_steps == 5
    of_preset = start_config(model, "sagan-32", {})
    assert (of_preset.channels_g, of_preset.attention_g) == (8, (8,))
    assert (of_preset.d_steps, of_preset.batch_size, of_preset.lr_g) == (5, 64, 2e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels_g": 16}, r"channels_g=16 does not fit 'old', which has channels_g=8: leave"),
        ({"spectral_norm_d": False}, r"spectral_norm_d=false .* spectral_norm_d=true"),
        ({"family": "dcgan", "resolution": 64}, r"family=dcgan .* family=residual"),
        ({"resolution": 128}, r"resolution=128 is too far from the 32 pixels .* give 32 or 64$"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused_in_one_line(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SaganError, match=message) as caught:
        start_config(model_of(config_of(), OLD), None, settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("old", "new"), [(32, 64), (64, 32)])
def test_layouts_that_share_no_block_are_refused_in_one_line(old: int, new: int) -> None:
    model = model_of(config_of(old), OLD)
    with pytest.raises(SaganError, match=f"no block of 'old', for {old} pixels, fits") as caught:
        start_from(model, config_of(new), OLD)
    assert f"--set resolution={old}" in str(caught.value)


def test_a_model_without_a_discriminator_or_with_damaged_weights_is_refused() -> None:
    with pytest.raises(SaganError, match="'old' has no discriminator"):
        start_from(model_of(config_of(), OLD, discriminator=True), config_of(), OLD)
    damaged = model_of(config_of(), OLD)
    damaged.read("discriminator")["linear.bias"].fill_(float("nan"))
    with pytest.raises(SaganError, match=r"'old' is damaged: linear\.bias has values that are not"):
        start_from(damaged, config_of(), OLD)


def test_blocks_with_random_weights_cannot_be_frozen() -> None:
    model = model_of(config_of(attention_d=()), OLD)
    start_from(model, config_of(attention_d=(8,), freeze_d=1), OLD)
    with pytest.raises(SaganError, match=r"freeze D's self_attention.8, which 'old' does not have"):
        start_from(model, config_of(attention_d=(8,), freeze_d=2), OLD)


# ---------------------------------------------------------------------------------------------
# Trainings


class Silent(Reporter):
    pass


def session_from(
    start: Path | str | None, run: Path, dataset: PackedDataset, **settings: Any
) -> Session:
    chosen = SMALL | {"evaluate_every": 0, "checkpoint_every": 100} | settings
    return prepare_session(
        str(dataset.path), run, "smoke", chosen, lambda _: None,
        start=str(start) if start is not None else None,
    )  # fmt: skip


def train_from(
    start: Path | str | None, run: Path, dataset: PackedDataset, **settings: Any
) -> Path:
    train(session_from(start, run, dataset, **settings), Silent())
    return run


def content(run: Path, step: int) -> dict[str, Any]:
    """Every tensor and number of a checkpoint, except for the time it took."""
    folder = checkpoint.folder_of(run, step)
    found: dict[str, Any] = {}
    for name in ("generator", "discriminator", "ema", "optimizer"):
        tensors = load_file(folder / f"{name}.safetensors")
        found |= {f"{name}/{key}": tensor for key, tensor in tensors.items()}
    state = json.loads((folder / "state.json").read_text())
    del state["seconds"], state["elapsed"]
    return found | {"state": state}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    assert one.keys() == other.keys()
    return [
        name
        for name, value in one.items()
        if not (
            torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]
        )
    ]


@pytest.fixture
def source(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "source")


@pytest.mark.usefixtures("no_images")
def test_six_steps_equal_three_and_a_restart_without_the_model_and_three_bit_for_bit(
    source: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    settings = {"freeze_d": 1, "augment": 0.3, "ema_half_life": 30, "accumulation": 2}
    whole = train_from(source, tmp_path / "whole", labeled, steps=6, **settings)
    parts = train_from(source, tmp_path / "parts", labeled, steps=3, **settings)
    shutil.rmtree(source)
    train_from(source, parts, labeled, steps=6, **settings)
    assert differing(content(whole, 6), content(parts, 6)) == []
    assert len(differing(content(parts, 6), content(parts, 3))) > 50


@pytest.mark.usefixtures("no_images")
def test_a_run_that_was_killed_at_its_start_begins_again_from_the_same_model_only(
    source: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    whole = train_from(source, tmp_path / "whole", labeled, steps=2)
    killed = train_from(source, tmp_path / "killed", labeled, steps=2)
    for folder in (killed / "checkpoints").iterdir():
        shutil.rmtree(folder)
    train_from(None, killed, labeled, steps=2)
    assert differing(content(whole, 2), content(killed, 2)) == []
    for folder in (killed / "checkpoints").iterdir():
        shutil.rmtree(folder)
    shutil.rmtree(checkpoint.checkpoints(source)[-1])
    with pytest.raises(SaganError, match=r"source' has changed since .* give another --out"):
        train_from(None, killed, labeled, steps=2)


@pytest.mark.usefixtures("no_images")
def test_both_generators_start_from_the_models_average(
    source: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    run = train_from(source, tmp_path / "run", labeled, steps=1)
    newest = checkpoint.checkpoints(source)[-1]
    began = checkpoint.folder_of(run, 0)
    for name, of in (("generator", "ema"), ("ema", "ema"), ("discriminator", "discriminator")):
        expected = load_file(newest / f"{of}.safetensors")
        assert differing(load_file(began / f"{name}.safetensors"), expected) == [], name
    assert load_file(began / "optimizer.safetensors") == {}
    raw = load_file(newest / "generator.safetensors")
    assert differing(raw, load_file(newest / "ema.safetensors")) != []


@pytest.mark.usefixtures("no_images")
def test_a_run_and_the_file_exported_from_it_start_the_same_training(
    source: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    export_model(open_model(source), file)
    one = train_from(source, tmp_path / "one", labeled, steps=1)
    other = train_from(file, tmp_path / "other", labeled, steps=1)
    assert differing(content(one, 1), content(other, 1)) == []
    export_model(open_model(source), file, half=True)
    train_from(file, tmp_path / "half", labeled, steps=1)
    weight = load_file(checkpoint.folder_of(tmp_path / "half", 0) / "ema.safetensors")
    assert {t.dtype for t in weight.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("family", ["residual", "dcgan"])
@pytest.mark.parametrize("freeze", [0, 1, 2])
def test_three_steps_change_all_of_d_but_its_frozen_blocks(
    family: str, freeze: int, labeled: PackedDataset, start_training: Callable[..., Training]
) -> None:
    settings: dict[str, Any] = {"freeze_d": freeze, "attention_d": (16,)}
    if family == "dcgan":
        images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
        labeled = PackedDataset(images, None, (), "", Path(), "noise", "train", "crop")
        settings |= {"family": "dcgan", "resolution": 64}
    training = start_training(labeled, **settings)
    discriminator = training.adversaries.discriminator
    with torch.no_grad():  # at gamma 0, attention's other weights have no gradient
        for layer in discriminator.self_attention.values():
            layer.get_parameter("gamma").fill_(0.1)
    before = {name: t.clone() for name, t in discriminator.state_dict().items()}
    for _ in range(3):
        training.advance()
    changed = set(differing(before, discriminator.state_dict()))
    blocks = "blocks" if family == "residual" else "layers"
    # In both families the map of side 16 follows a block with this number.
    follows = {"residual": 0, "dcgan": 1}[family]
    frozen = tuple(f"{blocks}.{i}." for i in range(freeze))
    frozen += ("self_attention.",) if freeze > follows else ()
    # u of a matrix with one row is 1 or -1; real and fake images may move the last bias equally.
    single = {"linear.parametrizations.weight.0.u", "linear.bias", "last.bias"}
    expected = (
        {name for name in before if not name.startswith(frozen)} - single
        if frozen
        else (set(before) - single)
    )
    assert changed - single == expected
    assert len(training._tensors()["optimizer"]) == 3 * (
        sum(1 for _ in training.adversaries.generator.parameters())
        + sum(
            1
            for name, _ in discriminator.named_parameters()
            if not (frozen and name.startswith(frozen))
        )
    )


def test_freezing_needs_a_model_and_no_more_blocks_than_there_are(
    labeled: PackedDataset, tmp_path: Path
) -> None:
    with pytest.raises(SaganError, match="give the model with --from, or freeze_d=0"):
        session_from(None, tmp_path / "run", labeled, freeze_d=1)
    config_of(freeze_d=4)
    with pytest.raises(SaganError, match="freeze_d=5 is more than the 4 blocks"):
        config_of(freeze_d=5)


@pytest.mark.usefixtures("no_images")
def test_another_start_than_a_run_began_with_is_refused(
    source: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    run = train_from(source, tmp_path / "run", labeled, steps=1)
    session_from(f"{source}/", run, labeled, steps=1)
    with pytest.raises(SaganError, match=r"it began from '.*source' and not from 'cifar10-32'"):
        session_from("cifar10-32", run, labeled, steps=1)
    scratch = train_from(None, tmp_path / "scratch", labeled, steps=1)
    with pytest.raises(SaganError, match=r"it began without --from and not from '.*source'\. Give"):
        session_from(source, scratch, labeled, steps=1)


@pytest.mark.usefixtures("no_images")
def test_what_was_taken_is_recorded_and_kept_when_a_run_resumes(
    source: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    run = train_from(source, tmp_path / "run", labeled, steps=1, attention_g=(8,))
    recorded = json.loads((run / "config.json").read_text())["from"]
    model = open_model(source)
    assert recorded["model"] == str(source)
    assert recorded["step"] == model.step == 6
    assert recorded["sha256"]["generator"] == model.sha256()
    assert len(recorded["sha256"]["discriminator"]) == 64
    assert recorded["fresh"] == ["generator.self_attention.8"]
    part, whole = recorded["taken"]["generator"]
    assert part < whole == len(load_file(checkpoint.folder_of(run, 1) / "ema.safetensors"))
    train_from(None, run, labeled, steps=2, attention_g=(8,))
    assert json.loads((run / "config.json").read_text())["from"] == recorded


@pytest.mark.usefixtures("no_images")
def test_the_credits_are_those_of_the_new_images_and_of_the_models(
    source: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    path = source / "config.json"
    recorded = json.loads(path.read_text())
    recorded["data"]["credits"] = "by Ann\nby Bob"
    path.write_text(json.dumps(recorded))
    packed = shutil.copytree(labeled.path, tmp_path / "packed")
    manifest = json.loads((packed / "pack.json").read_text()) | {"credits": "by Bob\nby Cat"}
    (packed / "pack.json").write_text(json.dumps(manifest))
    dataset = PackedDataset.open(packed)
    run = train_from(source, tmp_path / "run", dataset, steps=1)
    assert open_model(run).credits == "by Bob\nby Cat\nby Ann"
    train_from(None, run, dataset, steps=2)
    assert open_model(run).credits == "by Bob\nby Cat\nby Ann"


@pytest.mark.parametrize("damage", [5, {"model": 5}, {"model": "x", "more": 1}, []])
def test_a_damaged_record_of_the_start_is_one_line(
    damage: object, finished_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    content = json.loads((run / "config.json").read_text()) | {"from": damage}
    (run / "config.json").write_text(json.dumps(content))
    with pytest.raises(SaganError, match="is not a run's configuration"):
        directory.read_description(run)


def test_from_a_model_small_sets_are_augmented_unless_the_user_decides(
    source: Path, labeled: PackedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def augment(**settings: Any) -> object:
        session = session_from(source, tmp_path / "run", labeled, **settings)
        return session.description.config.augment

    assert augment() == "adaptive"
    scratch = partial(prepare_session, str(labeled.path), tmp_path / "run", notify=lambda _: None)
    assert scratch("sagan-32", {}).description.config.augment == 0
    assert augment(augment=0) == 0
    assert augment(augment=0.3) == 0.3
    assert augment(loss="wasserstein-gp") == 0
    monkeypatch.setattr("sagan.training.session.SMALL_SET", len(labeled))
    assert augment() == 0


# Run by each of two processes, with the packed set, the model, the run directory and the steps.
SCRIPT = """
import sys
from pathlib import Path

from sagan.training import loop, recorder
from sagan.training.session import prepare_session

recorder.draw_images = lambda *_: {}
source, start, run, steps = sys.argv[1:]
settings = SETTINGS | {"steps": int(steps)}
session = prepare_session(source, Path(run), "smoke", settings, lambda _: None, start=start)


class Silent(recorder.Reporter):
    pass


loop.train(session, Silent())
"""


def test_two_processes_resume_bit_for_bit_and_start_from_the_same_weights(
    source: Path,
    labeled: PackedDataset,
    tmp_path: Path,
    start_processes: Callable[..., Any],
    end_of: Callable[..., Any],
) -> None:
    settings = SMALL | {"freeze_d": 1, "augment": 0.3, "evaluate_every": 0}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("SETTINGS", repr(settings)))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for run, steps in ((whole, "6"), (parts, "3"), (parts, "6")):
        command = [str(script), str(labeled.path), str(source), str(run), steps]
        for process in start_processes([command, command], ACCELERATE_USE_CPU="true"):
            end = end_of(process)
            assert end.status == 0, end.err
    assert differing(content(whole, 6), content(parts, 6)) == []
    began = load_file(checkpoint.folder_of(whole, 0) / "discriminator.safetensors")
    newest = checkpoint.checkpoints(source)[-1]
    assert differing(began, load_file(newest / "discriminator.safetensors")) == []


@pytest.mark.usefixtures("no_images")
def test_a_time_limit_plans_the_steps_of_the_models_recipe_only(
    source: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    session = session_from(source, tmp_path / "run", labeled, minutes=0.05)
    assert session.plan is not None
    (candidate,) = session.plan.candidates
    assert candidate.description == session.description
    planned = make_plan(session, lambda _: None)
    assert planned.start is session.start
    train(planned, Silent())
    description = directory.read_description(tmp_path / "run")
    assert description.start == session.description.start
    assert description.config.channels_g == 8
