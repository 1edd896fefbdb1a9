"""Sampling, features and attention maps, with uint8 images outside."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sagan import load_generator
from sagan.errors import SaganError
from sagan.nn import base, convolution, resampling
from sagan.nn.attention import SelfAttention2d
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.inputs import seeded_latents
from sagan.nn.resnet import Discriminator, Generator


def open_attention(network: Any) -> Any:
    """Give attention an effect: gamma is 0 in a new network."""
    for layer in network.modules():
        if isinstance(layer, SelfAttention2d):
            nn.init.constant_(layer.gamma, 0.5)
    return network


@pytest.fixture(scope="module")
def g() -> Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: Generator = open_attention(
            Generator(32, 4, latent_size=8, attention=AttentionSpec((8, 16)))
        )
        for _ in range(20):
            network(torch.randn(16, 8))
    return network


@pytest.fixture(scope="module")
def conditional() -> Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Generator(32, 4, latent_size=8, num_classes=3, attention=AttentionSpec((16,)))
        for name, layer in network.named_modules():
            if name.endswith(".bias"):
                nn.init.normal_(layer.weight)  # type: ignore[arg-type]
        for _ in range(20):
            network(torch.randn(16, 8), torch.randint(3, (16,)))
    return network


@pytest.fixture(scope="module")
def d() -> Discriminator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network: Discriminator = open_attention(
            Discriminator(32, 4, attention=AttentionSpec((8, 16)))
        )
    return network


def random_images(num: int, size: int = 32, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (num, size, size, 3), dtype=np.uint8)


# --- labels and truncation ------------------------------------------------------------------------


@pytest.mark.parametrize("truncation", [float("nan"), float("inf"), -0.5, 1e30, 100.5])
def test_a_truncation_that_is_not_from_0_to_100_is_refused(g: Generator, truncation) -> None:
    with pytest.raises(SaganError, match="truncation"):
        g.sample(2, truncation=truncation)


def test_only_a_conditional_model_takes_labels_and_it_needs_them(
    g: Generator, conditional: Generator
) -> None:
    with pytest.raises(SaganError, match="conditional"):
        conditional.sample(2)
    with pytest.raises(SaganError, match="unconditional"):
        g.sample(2, labels=[0, 1])
    with pytest.raises(SaganError, match="0 to 2"):
        conditional.sample(2, labels=[0, 3])


def test_labels_may_be_a_list_an_array_or_a_tensor(conditional: Generator) -> None:
    expected = conditional.sample(3, labels=[2, 0, 1])
    assert (conditional.sample(3, labels=np.array([2, 0, 1])) == expected).all()
    assert (conditional.sample(3, labels=torch.tensor([2, 0, 1])) == expected).all()


def test_other_labels_give_other_images(conditional: Generator) -> None:
    z = seeded_latents(1, 8, 0).expand(3, 8)
    images = conditional.sample(3, labels=[0, 1, 2], latents=z).astype(int)
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert np.abs(images[a] - images[b]).max() > 3


def test_labels_that_are_not_integers_are_refused_not_rounded(
    conditional: Generator,
) -> None:
    with pytest.raises((SaganError, TypeError, ValueError)):
        conditional.sample(2, labels=[0.9, 1.7])  # type: ignore[list-item]


def test_labels_may_be_names_of_classes(conditional: Generator) -> None:
    named = copy.deepcopy(conditional)
    named.classes = ("ant", "bee", "cat")
    expected = conditional.sample(3, labels=[2, 0, 2])
    for labels in (["cat", "ant", "cat"], np.array(["cat", "ant", "cat"]), ("cat", 0, 2)):
        assert (named.sample(3, labels=labels) == expected).all()


def test_names_that_a_model_does_not_know_are_refused(conditional: Generator) -> None:
    with pytest.raises(SaganError, match=r"no class 'cat': .* unknown: give numbers"):
        conditional.sample(2, labels=["cat", "ant"])
    named = copy.deepcopy(conditional)
    named.classes = ("ant", "bee", "cat")
    with pytest.raises(SaganError, match=r"no class 'cow': .* are ant, bee, cat"):
        named.sample(2, labels=["cat", "cow"])
    with pytest.raises(SaganError, match=r"one label for each image, as \['cat'\]"):
        named.sample(2, labels="cat")


@pytest.mark.parametrize("labels", [[None, 1], [[0], [0, 1]], [{}, {}], 3, b"ab"])
def test_labels_of_other_types_are_an_error_in_one_line(
    conditional: Generator, labels: Any
) -> None:
    with pytest.raises(SaganError, match="labels") as caught:
        conditional.sample(2, labels=labels)
    assert "\n" not in str(caught.value)


def test_a_loaded_generator_knows_the_names_of_its_classes() -> None:
    generator = load_generator("cifar10-32")
    assert generator.classes[3] == "cat"
    assert (generator.sample(1, ["cat"]) == generator.sample(1, [3])).all()


# --- sampling -----------------------------------------------------------------------------------


def test_samples_are_bytes_nhwc_that_depend_on_the_seed(g: Generator) -> None:
    images = g.sample(3, seed=1)
    assert images.shape == (3, 32, 32, 3)
    assert images.dtype == np.uint8
    assert images.std() > 5
    assert (g.sample(3, seed=1) == images).all()
    assert (g.sample(3, seed=2) != images).any(axis=(1, 2, 3)).all()


def test_a_sample_is_the_networks_output_in_evaluation_mode(g: Generator) -> None:
    expected = torch.empty(0)
    g.eval()
    with torch.no_grad():
        expected = g(seeded_latents(2, 8, 5))
    g.train()
    levels = (expected.permute(0, 2, 3, 1).double().numpy() + 1) * 127.5
    assert np.abs(g.sample(2, seed=5) - levels).max() < 0.51


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_the_batch_size_changes_no_pixel_by_more_than_one_level(
    g: Generator, d: Discriminator, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Convolutions of another batch size may sum in another order: at most one level of 255."""
    images, maps = g.sample(7, return_attention=True)
    features, judged = d.features(images), d.attention(images)
    monkeypatch.setattr(base, "BATCH_SIZE", batch_size)
    again, maps_again = g.sample(7, return_attention=True)
    assert np.abs(again.astype(int) - images.astype(int)).max() <= 1
    np.testing.assert_allclose(d.features(images), features, rtol=1e-4, atol=1e-4)
    for one, other in [(maps, maps_again), (judged, d.attention(images))]:
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(other[name], one[name], atol=1e-5)


def test_neither_does_a_batch_size_that_changes_the_way_of_convolutions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of seven images the wide convolutions are computed in other ways than of one."""
    generator = Generator(32, 32, latent_size=8, attention=AttentionSpec((16,)))
    monkeypatch.setattr(convolution, "WINOGRAD_BATCH_POSITIONS", 7 * 8 * 8)
    monkeypatch.setattr(resampling, "KARATSUBA_POSITIONS", 7 * 4 * 4)
    images = generator.sample(7)
    monkeypatch.setattr(base, "BATCH_SIZE", 1)
    again = generator.sample(7)
    assert np.abs(again.astype(int) - images.astype(int)).max() <= 1


def test_more_samples_do_not_change_the_first_ones(g: Generator) -> None:
    few, more = g.sample(2, seed=4).astype(int), g.sample(70, seed=4).astype(int)
    assert np.abs(more[:2] - few).max() <= 1


def test_truncation_scales_the_latents(g: Generator) -> None:
    half = g.sample(3, seed=2, truncation=0.5)
    expected = g.sample(3, latents=0.5 * seeded_latents(3, 8, 2))
    assert (half == expected).all()
    none = g.sample(3, seed=2, truncation=0.0)
    assert (none == none[0]).all()
    assert (
        half.astype(float).std(axis=0).mean() < g.sample(3, seed=2).astype(float).std(axis=0).mean()
    )


def test_latents_of_another_shape_are_a_value_error(g: Generator) -> None:
    for shape in [(3, 8), (2, 7), (16,)]:
        with pytest.raises(ValueError, match="latents"):
            g.sample(2, latents=torch.zeros(shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_latents_may_be_numpy_arrays_even_read_only(g: Generator, dtype: Any) -> None:
    latents = seeded_latents(2, 8, 3).numpy().astype(dtype)
    latents.setflags(write=False)
    expected = g.sample(2, latents=torch.tensor(latents).float())
    assert (g.sample(2, latents=latents) == expected).all()
    assert (g.sample(2, latents=latents.tolist()) == expected).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, 1e300])
def test_latents_that_are_not_finite_or_absurdly_large_are_a_value_error(
    g: Generator, value: float
) -> None:
    latents = np.zeros((2, 8))
    latents[1, 3] = value
    for given in (latents, torch.from_numpy(latents)):
        with pytest.raises(ValueError, match="latents must be finite and from -1000 to 1000"):
            g.sample(2, latents=given)


@pytest.mark.parametrize("dtype", [np.complex64, np.bool_, np.str_, object])
def test_latents_that_are_not_real_numbers_are_a_value_error(g: Generator, dtype: Any) -> None:
    with pytest.raises(ValueError, match="latents must be real numbers"):
        g.sample(2, latents=np.zeros((2, 8)).astype(dtype))


def test_uint8_images_may_be_a_tensor(d: Discriminator) -> None:
    images = random_images(2)
    np.testing.assert_array_equal(d.features(torch.from_numpy(images)), d.features(images))  # type: ignore[arg-type]


def test_returning_maps_with_rows_that_sum_to_1_does_not_change_images(
    g: Generator,
) -> None:
    images, maps = g.sample(3, return_attention=True)
    assert (g.sample(3) == images).all()
    assert {name: array.shape for name, array in maps.items()} == {
        "generator.attention_8": (3, 64, 16),
        "generator.attention_16": (3, 256, 64),
    }
    for array in maps.values():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array.sum(axis=2), 1, atol=1e-5)


def test_maps_that_are_not_finite_are_refused_with_the_layer_but_images_are_drawn() -> None:
    spec = AttentionSpec((8,))
    generator = Generator(32, 4, latent_size=8, attention=spec, spectral_norm=None)
    discriminator = Discriminator(32, 4, attention=spec, spectral_norm=None)
    for layer in (generator.self_attention["8"], discriminator.self_attention["8"]):
        nn.init.constant_(layer.query.weight, 1e30)  # type: ignore[arg-type,union-attr]
        nn.init.constant_(layer.key.weight, 1e30)  # type: ignore[arg-type,union-attr]
    with pytest.raises(SaganError, match=r"generator\.attention_8 is not finite"):
        generator.sample(1, return_attention=True)
    with pytest.raises(SaganError, match=r"discriminator\.attention_8 is not finite"):
        discriminator.attention(random_images(1))
    assert generator.sample(1).shape == (1, 32, 32, 3)


def test_maps_belong_to_their_images_across_batches(
    g: Generator, d: Discriminator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "BATCH_SIZE", 2)
    z = seeded_latents(5, 8, 0)
    images, maps = g.sample(5, latents=z, return_attention=True)
    judged = d.attention(images)
    for i in range(5):
        _, alone = g.sample(1, latents=z[i : i + 1], return_attention=True)
        for name, array in alone.items():
            np.testing.assert_allclose(maps[name][i], array[0], atol=1e-5)
        for name, array in d.attention(images[i : i + 1]).items():
            np.testing.assert_allclose(judged[name][i], array[0], atol=1e-5)


def test_features_are_the_input_of_the_last_linear_layer(d: Discriminator) -> None:
    """The logit is affine in the features, with the linear layer's weight and bias."""
    images = random_images(3)
    with torch.no_grad():
        floats = torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
        logits = d(floats).double().numpy()
        weight, bias = d.linear.weight.double().numpy()[0], d.linear.bias.double().item()
    features = d.features(images)
    assert features.dtype == np.float32
    assert features.shape == (3, 8)
    assert features.min() >= 0
    np.testing.assert_allclose(features.astype(float) @ weight + bias, logits, rtol=1e-4, atol=1e-4)


def test_zero_images_give_empty_features(d: Discriminator) -> None:
    assert d.features(random_images(0)).shape == (0, 8)


def test_zero_images_give_empty_maps(d: Discriminator) -> None:
    assert {name: m.shape for name, m in d.attention(random_images(0)).items()} == {
        "discriminator.attention_16": (0, 256, 64),
        "discriminator.attention_8": (0, 64, 16),
    }


def test_zero_samples_are_an_empty_array_and_empty_maps(g: Generator) -> None:
    assert g.sample(0).shape == (0, 32, 32, 3)
    _, maps = g.sample(0, return_attention=True)
    assert {name: m.shape for name, m in maps.items()} == {
        "generator.attention_8": (0, 64, 16),
        "generator.attention_16": (0, 256, 64),
    }


def test_images_may_be_mirrored_views(d: Discriminator) -> None:
    mirrored = random_images(3)[:, :, ::-1]
    np.testing.assert_array_equal(d.features(mirrored), d.features(mirrored.copy()))


def test_images_may_be_read_only_like_memory_mapped_ones(d: Discriminator) -> None:
    images = random_images(3)
    expected = d.features(images)
    images.setflags(write=False)
    np.testing.assert_array_equal(d.features(images), expected)


@pytest.mark.parametrize(
    "images",
    [
        random_images(2, 16),
        random_images(2).astype(np.float32),
        random_images(2)[0],
        random_images(2).transpose(0, 3, 1, 2),
        random_images(2)[..., :1],
    ],
)
def test_images_of_another_size_or_dtype_are_refused_with_the_expected_ones(
    d: Discriminator, images: Any
) -> None:
    for method in (d.features, d.attention):
        with pytest.raises(SaganError, match=r"uint8 images of shape \(num, 32, 32, 3\)"):
            method(images)


def test_every_image_has_its_own_label_and_latent_across_batches(
    conditional: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, latents = [0, 1, 2, 2, 1, 0, 0], seeded_latents(7, 8, 0)
    monkeypatch.setattr(base, "BATCH_SIZE", 3)
    parts = conditional.sample(7, labels).astype(int)
    for i, label in enumerate(labels):
        (alone,) = conditional.sample(1, [label], latents=latents[i : i + 1])
        assert np.abs(parts[i] - alone).max() <= 1


# --- state --------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_every_layer_keeps_its_own_mode(g: Generator, d: Discriminator, training: bool) -> None:
    """A network may be partly frozen, for example with a batch norm in evaluation mode."""
    for original in (g, d):
        network = copy.deepcopy(original).train(training)
        network.self_attention["8"].train(not training)
        before = {name: layer.training for name, layer in network.named_modules()}
        if isinstance(network, Generator):
            network.sample(1, return_attention=True)
        else:
            network.features(random_images(1))
            network.attention(random_images(1))
        assert {name: layer.training for name, layer in network.named_modules()} == before


@pytest.mark.parametrize("method", ["sample", "features", "attention"])
def test_a_failure_restores_modes_and_removes_hooks(
    g: Generator, d: Discriminator, method: str
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    network: Any = copy.deepcopy(g if method == "sample" else d).train()
    handle = network.blocks[-1].register_forward_hook(fail)
    argument = 1 if method == "sample" else random_images(1)
    with pytest.raises(KeyboardInterrupt) as caught:  # keeps the frames alive, as a debugger does
        getattr(network, method)(argument)
    handle.remove()
    assert caught.tb is not None
    assert network.training
    assert not any(layer._forward_pre_hooks for layer in network.modules())


def test_grad_mode_is_on_after_sampling(g: Generator) -> None:
    g.sample(1)
    assert torch.is_grad_enabled()
