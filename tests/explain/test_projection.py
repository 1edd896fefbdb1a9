"""Projection: the latents whose sample comes nearest to a photo."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from sagan.build import build_networks
from sagan.cli.app import app
from sagan.config import resolve
from sagan.errors import SaganError
from sagan.explain.projection import Projection, project
from sagan.nn.base import DiscriminatorBase, GeneratorBase

SMALL = {
    "channels_g": 8,
    "channels_d": 8,
    "latent_size": 6,
    "conditional": True,
    "spectral_norm_g": False,  # so that weights can be set
}


@pytest.fixture(scope="module")
def networks() -> tuple[GeneratorBase, DiscriminatorBase]:
    torch.manual_seed(0)
    generator, discriminator = build_networks(resolve("smoke", SMALL), 3)
    with torch.no_grad():
        generator.to_rgb.weight.mul_(8)  # type: ignore[union-attr,operator]
    return generator.eval(), discriminator.eval()


@pytest.fixture(scope="module")
def found(networks: tuple[GeneratorBase, DiscriminatorBase]) -> tuple[np.ndarray, Projection]:
    image = networks[0].sample(1, [1], seed=99)[0]
    return image, project(*networks, image, steps=30)


def test_it_comes_nearer_to_an_image_than_all_random_samples(
    found: tuple[np.ndarray, Projection],
) -> None:
    assert found[1].distance < 0.7 * found[1].random_distance


def test_its_latents_draw_its_image(
    networks: tuple[GeneratorBase, DiscriminatorBase], found: tuple[np.ndarray, Projection]
) -> None:
    _, projection = found
    assert projection.label is not None
    again = networks[0].sample(1, [projection.label], latents=projection.latents[None])
    assert np.abs(again[0].astype(int) - projection.image).max() <= 1


def test_the_same_arguments_give_the_same_projection_and_progress_is_reported(
    networks: tuple[GeneratorBase, DiscriminatorBase],
) -> None:
    image = networks[0].sample(1, [2], seed=5)[0]
    steps: list[tuple[int, int]] = []
    first = project(*networks, image, [2], 6, progress=lambda *done: steps.append(done))
    second = project(*networks, image, [2], 6)
    assert (first.latents == second.latents).all()
    assert first.label == 2
    assert steps == [(i, 6) for i in range(1, 7)]


def test_it_draws_few_enough_samples_to_take_less_than_20_seconds_of_one_core(
    networks: tuple[GeneratorBase, DiscriminatorBase],
) -> None:
    """The shipped models took 21 seconds for 1,083, of which 560 had a backward pass."""
    drawn = {True: 0, False: 0}

    def count(module: object, inputs: tuple[torch.Tensor, ...], images: torch.Tensor) -> None:
        drawn[images.requires_grad] += len(images)

    image = networks[0].sample(1, [1], seed=7)[0]
    with networks[0].register_forward_hook(count):
        project(*networks, image)
    assert drawn[True] <= 340
    assert drawn[False] <= 270


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_any_number_of_steps_is_taken_and_reported(
    networks: tuple[GeneratorBase, DiscriminatorBase], steps: int
) -> None:
    image = networks[0].sample(1, [2], seed=5)[0]
    done: list[tuple[int, int]] = []
    project(*networks, image, [2], steps, progress=lambda *now: done.append(now))
    assert done == [(i, steps) for i in range(1, steps + 1)]


def test_an_image_of_another_size_is_refused(
    networks: tuple[GeneratorBase, DiscriminatorBase],
) -> None:
    with pytest.raises(SaganError, match="shape"):
        project(*networks, np.zeros((16, 16, 3), np.uint8))


def test_the_command_writes_the_picture_and_latents_that_draw_it(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), "tan").save(tmp_path / "photo.png")
    out, latents = tmp_path / "out.png", tmp_path / "z.npy"
    arguments = ["project", "cifar10-32", str(tmp_path / "photo.png"), "--out", str(out)]
    options = ["--latents", str(latents), "--steps", "2", "--classes", "cat"]
    result = CliRunner().invoke(app, [*arguments, *options])
    assert result.exit_code == 0, result.output
    assert "as cat" in result.output
    assert np.load(latents).shape[0] == 1
    with Image.open(out) as image:
        assert image.width > 3 * 96
