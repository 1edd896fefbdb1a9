"""What the page asks of a model is what the library gives."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sagan.errors import SaganError
from sagan.explorer.renderer import GalleryRequest, SampleRequest, Studio, scaled_gammas
from sagan.model import open_model
from sagan.sampling import grid_labels


@pytest.fixture(scope="module")
def studio(run: Path) -> Studio:
    return Studio(open_model(run))


def test_a_sample_is_the_one_that_sagan_sample_draws_at_that_place(studio: Studio) -> None:
    labels = grid_labels(6, 3)
    images, maps = studio.generator.sample(6, labels, seed=4, return_attention=True)
    scene = studio.sample(SampleRequest(seed=4, index=5))
    assert np.abs(scene.picture.astype(int) - images[5]).max() <= 1
    name = "generator.attention_16"
    assert np.allclose(scene.maps[name], maps[name][5], atol=1e-4)
    assert scene.label == labels[5]


def test_the_way_begins_at_the_sample_and_ends_at_that_of_the_other_seed(studio: Studio) -> None:
    start, end = (studio.sample(SampleRequest(seed=s, index=1, label=2)) for s in (0, 9))
    on_way = [
        studio.sample(SampleRequest(seed=0, index=1, label=2, toward=9, blend=b)).picture
        for b in (0, 32, 64)
    ]
    assert np.array_equal(on_way[0], start.picture)
    assert np.abs(on_way[2].astype(int) - end.picture).max() <= 1
    assert not np.array_equal(on_way[1], on_way[0])
    assert not np.array_equal(on_way[1], on_way[2])


def test_without_attention_is_what_a_generator_whose_gamma_is_0_draws(
    studio: Studio, run: Path
) -> None:
    scene = studio.sample(SampleRequest(index=2, gamma=0))
    assert np.array_equal(scene.picture, scene.without)
    generator = open_model(run).generator()
    with torch.no_grad():
        for layer in generator.attention_layers().values():
            layer.gamma.zero_()
    assert np.abs(generator.sample(3, [0, 1, 2])[2].astype(int) - scene.without).max() <= 1


def test_scaling_gamma_changes_the_picture_and_leaves_no_trace(studio: Studio) -> None:
    layer = studio.generator.attention_layers()["generator.attention_16"]
    before = layer.gamma.clone()
    trained, doubled = (studio.sample(SampleRequest(gamma=g)).picture for g in (1, 2))
    assert not np.array_equal(trained, doubled)
    with pytest.raises(RuntimeError), scaled_gammas(studio.generator, 3):
        raise RuntimeError
    assert torch.equal(layer.gamma, before)


def test_scores_are_the_discriminators_logits_for_every_label(studio: Studio) -> None:
    scene = studio.sample(SampleRequest())
    x = torch.from_numpy(scene.picture.copy())[None].permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = [float(studio.discriminator(x, torch.tensor([label]))) for label in range(3)]
    assert scene.scores == pytest.approx(expected, rel=1e-4)


def test_the_discriminator_looks_once_and_sees_what_it_does_when_asked_one_by_one(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = studio.sample(SampleRequest(seed=3))
    looks = []
    embed = studio.discriminator.embed

    def counted(images: torch.Tensor) -> torch.Tensor:
        looks.append(len(images))
        return embed(images)

    monkeypatch.setattr(studio.discriminator, "embed", counted)
    drawn, judged = studio.sample(SampleRequest(seed=3)), studio.look(scene.picture)
    assert looks == [1, 1]
    monkeypatch.undo()
    name = "discriminator.attention_16"
    expected = studio.discriminator.attention(scene.picture[None])[name][0]
    for found in (drawn, judged):
        assert found.scores == pytest.approx(studio.discriminator.scores(scene.picture[None])[0])
        assert np.allclose(found.maps[name], expected, atol=1e-6)


def test_a_class_that_there_is_not_is_told(studio: Studio, unconditional_run: Path) -> None:
    with pytest.raises(SaganError, match="0 to 2"):
        studio.gallery(GalleryRequest(label=3))
    plain = Studio(open_model(unconditional_run))
    assert plain.sample(SampleRequest()).label is None
    with pytest.raises(SaganError, match="unconditional"):
        plain.sample(SampleRequest(label=0))


def test_only_layers_that_attend_are_offered(studio: Studio, run_with_the_control: Path) -> None:
    gammas = {"generator.attention_16": 0.8, "discriminator.attention_16": -0.5}
    assert studio.gammas() == pytest.approx(gammas)
    assert list(studio.gammas()) == list(gammas)
    assert Studio(open_model(run_with_the_control)).gammas() == {}
