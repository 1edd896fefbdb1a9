"""The page shows what the library itself computes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sagan.errors import SaganError
from sagan.explain.directions import latent_directions
from sagan.explorer.renderer import GalleryRequest, Renderer, SampleRequest, scaled_gammas
from sagan.model import open_model
from sagan.nn.inputs import seeded_latents
from sagan.sampling import grid_labels


@pytest.fixture(scope="module")
def renderer(run: Path) -> Renderer:
    return Renderer(open_model(run))


def test_a_sample_is_the_one_that_sagan_sample_draws_at_its_index(renderer: Renderer) -> None:
    labels = grid_labels(6, 3)
    images, maps = renderer.generator.sample(6, labels, seed=4, return_attention=True)
    payload = renderer.sample(SampleRequest(seed=4, index=5))
    assert np.abs(payload.image.astype(int) - images[5]).max() <= 1
    name = "generator.attention_16"
    assert np.allclose(payload.maps[name], maps[name][5], atol=1e-4)
    assert payload.label == labels[5]


def test_the_interpolation_runs_from_the_sample_to_that_of_the_other_seed(
    renderer: Renderer,
) -> None:
    start, end = (renderer.sample(SampleRequest(seed=s, index=1, label=2)) for s in (0, 9))
    steps = [
        renderer.sample(SampleRequest(seed=0, index=1, label=2, toward=9, blend=b)).image
        for b in (0, 32, 64)
    ]
    assert np.array_equal(steps[0], start.image)
    assert np.abs(steps[2].astype(int) - end.image).max() <= 1
    assert not np.array_equal(steps[1], steps[0])
    assert not np.array_equal(steps[1], steps[2])


def test_moves_are_added_to_the_latents_along_the_models_directions(renderer: Renderer) -> None:
    first, _, third = latent_directions(renderer.generator, 3)
    start = seeded_latents(2, renderer.generator.latent_size, 4)[1:]
    latents = start + 3 * torch.from_numpy(first) - 0.5 * torch.from_numpy(third)
    expected = renderer.generator.sample(1, [2], latents=latents)[0]
    payload = renderer.sample(SampleRequest(seed=4, index=1, label=2, moves=(3, 0, -0.5)))
    assert np.abs(payload.image.astype(int) - expected).max() <= 1
    unmoved = renderer.sample(SampleRequest(seed=4, index=1, label=2))
    assert not np.array_equal(payload.image, unmoved.image)


def test_more_moves_than_the_model_has_directions_are_refused(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderer, "directions", renderer.directions[:3])
    renderer.sample(SampleRequest(moves=(1, 1, 1)))
    with pytest.raises(SaganError, match="4 moves, but the model has 3 directions"):
        renderer.sample(SampleRequest(moves=(1, 1, 1, 0)))


def test_without_attention_every_gamma_is_0(renderer: Renderer, run: Path) -> None:
    payload = renderer.sample(SampleRequest(index=2, gamma=0))
    assert np.array_equal(payload.image, payload.without_attention)
    generator = open_model(run).generator()
    with torch.no_grad():
        for layer in generator.attention_layers().values():
            layer.gamma.zero_()
    assert (
        np.abs(generator.sample(3, [0, 1, 2])[2].astype(int) - payload.without_attention).max() <= 1
    )


def test_scaling_gamma_changes_the_image_and_is_undone(renderer: Renderer) -> None:
    layer = renderer.generator.attention_layers()["generator.attention_16"]
    before = layer.gamma.clone()
    trained, doubled = (renderer.sample(SampleRequest(gamma=g)).image for g in (1, 2))
    assert not np.array_equal(trained, doubled)
    with pytest.raises(RuntimeError), scaled_gammas(renderer.generator, 3):
        raise RuntimeError
    assert torch.equal(layer.gamma, before)


def test_scores_are_the_discriminators_logits_for_every_label(renderer: Renderer) -> None:
    payload = renderer.sample(SampleRequest())
    x = torch.from_numpy(payload.image.copy())[None].permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = [float(renderer.discriminator(x, torch.tensor([label]))) for label in range(3)]
    assert payload.scores == pytest.approx(expected, rel=1e-4)


def test_one_forward_pass_gives_the_discriminators_scores_and_attention(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = renderer.sample(SampleRequest(seed=3))
    batch_sizes = []
    embed = renderer.discriminator.embed

    def counted(images: torch.Tensor) -> torch.Tensor:
        batch_sizes.append(len(images))
        return embed(images)

    monkeypatch.setattr(renderer.discriminator, "embed", counted)
    drawn, judged = renderer.sample(SampleRequest(seed=3)), renderer.judge(payload.image)
    assert batch_sizes == [1, 1]
    monkeypatch.undo()
    name = "discriminator.attention_16"
    expected = renderer.discriminator.attention(payload.image[None])[name][0]
    for found in (drawn, judged):
        assert found.scores == pytest.approx(renderer.discriminator.scores(payload.image[None])[0])
        assert np.allclose(found.maps[name], expected, atol=1e-6)


def test_an_unknown_class_is_refused(renderer: Renderer, unconditional_run: Path) -> None:
    with pytest.raises(SaganError, match="0 to 2"):
        renderer.gallery(GalleryRequest(label=3))
    unconditional = Renderer(open_model(unconditional_run))
    assert unconditional.sample(SampleRequest()).label is None
    with pytest.raises(SaganError, match="unconditional"):
        unconditional.sample(SampleRequest(label=0))


def test_layers_without_attention_are_left_out(
    renderer: Renderer, run_with_the_control: Path
) -> None:
    gammas = {"generator.attention_16": 0.8, "discriminator.attention_16": -0.5}
    assert renderer.gammas() == pytest.approx(gammas)
    assert list(renderer.gammas()) == list(gammas)
    assert Renderer(open_model(run_with_the_control)).gammas() == {}
