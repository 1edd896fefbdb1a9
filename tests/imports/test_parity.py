"""Imported models draw and judge as the code of the projects that they come from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sagan import load_discriminator, load_generator
from sagan.imports.convert import PEERS, import_model
from sagan.model import export_model, open_model
from sagan.summary import model_lines
from sagan.training.transfer import start_config

PROJECTS = [name for name in PEERS if name != "mimicry"]  # always refused
Saved = Callable[[str], tuple[Path, Path | None]]
EXACT = {"rtol": 0.0, "atol": 1e-5}


@pytest.mark.parametrize("project", PROJECTS)
@torch.no_grad()
def test_a_model_file_of_imported_weights_draws_and_judges_as_the_project_did(
    project: str, golden: Any, saved: Saved, tmp_path: Path
) -> None:
    expected = golden(project)
    generator_file, discriminator_file = saved(project)
    file = tmp_path / "imported.safetensors"
    export_model(import_model(generator_file, project, discriminator_file), file)
    assert expected.images.std() > 0.1  # not saturated, nor empty
    images = load_generator(file)(expected.latents, expected.labels)
    torch.testing.assert_close(images, expected.images, **EXACT)
    logits = load_discriminator(file)(expected.images, expected.labels)
    torch.testing.assert_close(logits, expected.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("project", PROJECTS)
def test_the_project_is_recognized_and_sample_and_inspect_take_the_model(
    project: str, golden: Any, saved: Saved, tmp_path: Path
) -> None:
    file = tmp_path / "imported.safetensors"
    generator_file, discriminator_file = saved(project)
    export_model(import_model(generator_file, discriminator=discriminator_file), file)
    expected = golden(project)
    labels = expected.labels.tolist() if expected.labels is not None else None
    drawn, maps = load_generator(file).sample(
        len(expected.latents), labels, latents=expected.latents, return_attention=True
    )
    pixels = ((expected.images.permute(0, 2, 3, 1) + 1) * 127.5).numpy()
    assert abs(drawn - pixels).max() <= 0.51  # rounded to whole numbers
    assert maps
    lines = list(model_lines(open_model(file)))
    assert "gamma        +0.7000 in generator.attention_16" in lines
    assert any(PEERS[project].title in line for line in lines)


@pytest.mark.parametrize("project", PROJECTS)
def test_spectral_normalization_is_kept_for_further_training(project: str, saved: Saved) -> None:
    generator_file, discriminator_file = saved(project)
    model = import_model(generator_file, discriminator=discriminator_file)
    assert model.config.spectral_norm_g
    assert model.config.spectral_norm_d
    for network in ("ema", "discriminator"):
        assert any(name.endswith("parametrizations.weight.0.u") for name in model.read(network))


@torch.no_grad()
def test_weights_without_spectral_normalization_stay_without(golden: Any, tmp_path: Path) -> None:
    expected = golden("studiogan")
    folded = {}
    for name, tensor in expected.generator.items():
        if name.endswith("weight_orig"):
            layer = name.removesuffix("weight_orig")
            u, v = (expected.generator[f"{layer}weight_{kind}"] for kind in "uv")
            folded[f"{layer}weight"] = tensor / (u @ tensor.flatten(1) @ v)
        elif not name.endswith(("weight_u", "weight_v")):
            folded[name] = tensor
    torch.save(folded, tmp_path / "G.pth")
    model = import_model(tmp_path / "G.pth")
    assert not model.config.spectral_norm_g
    images = model.generator()(expected.latents, expected.labels)
    torch.testing.assert_close(images, expected.images, **EXACT)


def test_an_average_is_preferred_unless_raw_weights_are_asked_for(saved: Saved) -> None:
    file, _ = saved("mmgeneration")  # its raw weights are zeros here
    assert import_model(file).read("ema")["linear.bias"].any()
    with pytest.raises(Exception, match="not finite"):
        import_model(file, raw=True)


def test_the_steps_of_a_checkpoint_are_updates_of_the_generator(saved: Saved) -> None:
    file, _ = saved("mmgeneration")
    assert import_model(file).step == 35 // 5  # it counts those of D, five for each of G
    file, discriminator = saved("studiogan")  # the number is in D's file
    assert import_model(file, discriminator=discriminator).step == 7


@torch.no_grad()
def test_facts_that_a_file_does_not_show_can_be_given(golden: Any, saved: Saved) -> None:
    expected = golden("mmgeneration")
    file, _ = saved("mmgeneration")
    facts = ("channels=rgb", "norm_eps=1e-2", "rectified_skip=true")
    rgb = import_model(file, assume=facts[:1]).generator()(expected.latents, expected.labels)
    torch.testing.assert_close(rgb, expected.images.flip(1), **EXACT)
    model = import_model(file, assume=facts)
    images = model.generator()(expected.latents, expected.labels)
    assert (images - rgb).abs().max() > 1e-3
    assert model.config.rectified_skip


def test_a_training_that_starts_from_an_imported_model_keeps_its_networks(saved: Saved) -> None:
    file, discriminator = saved("studiogan")
    config = start_config(import_model(file, discriminator=discriminator), None, {})
    assert config.rectified_skip
    assert (config.channels_g, config.channels_d, config.latent_size) == (4, 4, 8)


def test_the_configuration_in_a_checkpoint_of_mmgeneration_is_heeded(
    saved: Saved, tmp_path: Path
) -> None:
    content = torch.load(saved("mmgeneration")[0], weights_only=True)
    content["meta"]["config"] = (
        "model = dict(generator=dict(init_cfg=dict(type='studio'), norm_eps=1e-05),\n"
        "    discriminator=dict(act_cfg=dict(type='ReLU', inplace=True)))"
    )
    torch.save(content, tmp_path / "both.pth")
    model = import_model(tmp_path / "both.pth")
    assert model.config.rectified_skip
    assert "norm_eps=1e-05" in model.card
