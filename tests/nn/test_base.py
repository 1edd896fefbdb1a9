"""Latents, labels, pixels, and what a network does for its user: sample, features, attention."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sagan.errors import SaganError
from sagan.images.grid import grid_columns, image_grid
from sagan.images.pixels import to_float, to_uint8
from sagan.nn import base
from sagan.nn.attention import SelfAttention2d
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.inputs import check_labels, seeded_latents
from sagan.nn.resnet import Discriminator, Generator
from sagan.sampling import grid_labels, spherical_interpolation


def open_attention(network: Any) -> Any:
    """In the state of some training: attention that counts and running statistics that fit."""
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


def pictures(num: int, size: int = 32, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (num, size, size, 3), dtype=np.uint8)


# --- latents ------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**64),
    size=st.integers(1, 40),
    few=st.integers(0, 30),
    more=st.integers(0, 60),
)
def test_a_latent_depends_on_the_seed_and_its_place_only(
    seed: int, size: int, few: int, more: int
) -> None:
    longer = seeded_latents(few + more, size, seed)
    assert longer.shape == (few + more, size)
    assert longer.dtype == torch.float32
    assert torch.equal(seeded_latents(few, size, seed), longer[:few])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), other=st.integers(0, 2**32))
def test_seeds_differ_in_every_latent(seed: int, other: int) -> None:
    same = (seeded_latents(4, 8, seed) == seeded_latents(4, 8, other)).all(dim=1)
    assert same.all() if seed == other else not same.any()


def test_latents_are_standard_normal_and_uncorrelated() -> None:
    z = seeded_latents(20_000, 4, seed=3).double()
    assert z.mean(dim=0).abs().max() < 0.03
    assert (torch.cov(z.T) - torch.eye(4)).abs().max() < 0.05
    assert (z.pow(4).mean() - 3).abs() < 0.15


def test_latents_are_the_same_numbers_on_every_machine() -> None:
    """Philox 4x64 with numpy's ziggurat, which numpy does not promise to keep: then it shows."""
    expected = [[-0.50237358, 0.50684536, 2.01934862], [0.85149574, 0.18355125, 0.49399969]]
    assert torch.equal(seeded_latents(2, 3, seed=7), torch.tensor(expected))


def test_drawing_latents_leaves_the_global_generators_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    seeded_latents(10, 10, 0)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # type: ignore[index] # noqa: NPY002


# --- interpolation ------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 9999), size=st.integers(2, 200), num=st.integers(2, 12))
def test_interpolation_starts_and_ends_at_its_ends_and_its_norm_moves_evenly(
    seed: int, size: int, num: int
) -> None:
    start, end = seeded_latents(2, size, seed)
    if torch.cosine_similarity(start, end, dim=0) < -0.999:
        return  # opposite latents have no one arc between them
    path = spherical_interpolation(start, end, num)
    assert path.shape == (num, size)
    scale = float(max(start.norm(), end.norm()))
    torch.testing.assert_close(path[0], start, atol=2e-3 * scale, rtol=0)
    torch.testing.assert_close(path[-1], end, atol=2e-3 * scale, rtol=0)
    norms = np.linspace(float(start.norm()), float(end.norm()), num)
    np.testing.assert_allclose(path.norm(dim=1).numpy(), norms, rtol=2e-3)


def test_interpolation_turns_by_equal_angles_in_the_plane_of_its_ends() -> None:
    start, end = torch.tensor([2.0, 0, 0]), torch.tensor([0, 4.0, 0])
    path = spherical_interpolation(start, end, 4).numpy()
    for i, radius in enumerate([2, 8 / 3, 10 / 3, 4]):
        angle = i * np.pi / 6
        expected = [radius * np.cos(angle), radius * np.sin(angle), 0]
        np.testing.assert_allclose(path[i], expected, atol=1e-5)


def test_interpolation_between_equal_latents_stays_there() -> None:
    z = seeded_latents(1, 128, 0)[0]
    path = spherical_interpolation(z, z, 5)
    torch.testing.assert_close(path, z.expand(5, 128), atol=1e-4, rtol=1e-4)


def test_an_interpolation_of_one_is_its_start() -> None:
    start, end = seeded_latents(2, 16, 0)
    torch.testing.assert_close(spherical_interpolation(start, end, 1), start[None])


# --- labels -------------------------------------------------------------------------------------


def test_labels_that_fit_are_accepted() -> None:
    check_labels(None, 3, 0)
    check_labels(torch.tensor([0, 2, 1]), 3, 3)
    check_labels(torch.empty(0, dtype=torch.int64), 0, 3)
    check_labels(torch.tensor([]), 0, 3)  # what an empty list becomes
    check_labels(torch.from_numpy(np.array([0, 2], np.uint32)), 2, 3)


@pytest.mark.parametrize(
    ("labels", "num", "num_classes", "message"),
    [
        ([0, 1], 2, 0, "unconditional"),
        (None, 2, 3, "conditional: give labels from 0 to 2"),
        ([0], 2, 3, "2 images"),
        ([[0, 1]], 2, 3, "2 images"),
        ([0, 3], 2, 3, "from 0 to 2, not 0 to 3"),
        ([-1, 0], 2, 3, "from 0 to 2, not -1 to 0"),
        ([False, True], 2, 3, "integers from 0 to 2, not torch.bool"),
    ],
)
def test_labels_that_do_not_fit_are_an_error_of_one_line(
    labels: Any, num: int, num_classes: int, message: str
) -> None:
    tensor = None if labels is None else torch.tensor(labels)
    with pytest.raises(SaganError, match=message) as caught:
        check_labels(tensor, num, num_classes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("truncation", [float("nan"), float("inf"), -0.5])
def test_a_truncation_that_is_no_number_from_0_on_is_refused(g: Generator, truncation) -> None:
    with pytest.raises(SaganError, match="truncation"):
        g.sample(2, truncation=truncation)


def test_sample_insists_on_labels_for_a_conditional_model_and_on_none_otherwise(
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


def test_labels_decide_what_is_drawn(conditional: Generator) -> None:
    z = seeded_latents(1, 8, 0).expand(3, 8)
    images = conditional.sample(3, labels=[0, 1, 2], latents=z).astype(int)
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert np.abs(images[a] - images[b]).max() > 3


def test_labels_that_are_no_integers_are_an_error_rather_than_rounded(
    conditional: Generator,
) -> None:
    with pytest.raises((SaganError, TypeError, ValueError)):
        conditional.sample(2, labels=[0.9, 1.7])  # type: ignore[list-item]


# --- pixels -------------------------------------------------------------------------------------


def test_every_byte_survives_the_way_to_float_and_back() -> None:
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    floats = to_float(torch.from_numpy(x))
    assert floats.min() == -1
    assert floats.max() == 1
    assert (to_uint8(floats) == x).all()
    values = floats[0, 0].flatten().double().numpy()
    np.testing.assert_allclose(values, np.arange(256) / 127.5 - 1, atol=1e-7)


def test_pixels_change_axes_not_places_and_the_input_stays() -> None:
    x = pictures(2, 5)
    before = x.copy()
    floats = to_float(torch.from_numpy(x))
    assert floats.shape == (2, 3, 5, 5)
    assert floats.is_contiguous(memory_format=torch.channels_last)
    assert floats[1, 2, 3, 4].item() == pytest.approx(x[1, 3, 4, 2] / 127.5 - 1, abs=1e-6)
    back = to_uint8(floats)
    assert back.flags.c_contiguous
    assert (back == x).all()
    assert (x == before).all()


@settings(max_examples=50, deadline=None)
@given(value=st.floats(-3, 3, width=32))
def test_to_uint8_takes_the_nearest_byte_and_clamps(value: float) -> None:
    exact = min(max((value + 1) * 127.5, 0), 255)
    byte = to_uint8(torch.full((1, 3, 1, 1), value))[0, 0, 0, 0]
    assert abs(float(byte) - exact) <= 0.5 + 1e-4


def test_to_uint8_leaves_its_input_alone_and_takes_bfloat16() -> None:
    x = torch.linspace(-2, 2, 12).view(1, 3, 2, 2)
    before = x.clone()
    to_uint8(x)
    assert torch.equal(x, before)
    assert np.abs(to_uint8(x.bfloat16()).astype(int) - to_uint8(x).astype(int)).max() <= 1


# --- sampling -----------------------------------------------------------------------------------


def test_samples_are_bytes_nhwc_that_depend_on_the_seed(g: Generator) -> None:
    images = g.sample(3, seed=1)
    assert images.shape == (3, 32, 32, 3)
    assert images.dtype == np.uint8
    assert images.std() > 5
    assert (g.sample(3, seed=1) == images).all()
    assert (g.sample(3, seed=2) != images).any(axis=(1, 2, 3)).all()


def test_a_sample_is_the_networks_picture_in_evaluation_mode(g: Generator) -> None:
    expected = torch.empty(0)
    g.eval()
    with torch.no_grad():
        expected = g(seeded_latents(2, 8, 5))
    g.train()
    levels = (expected.permute(0, 2, 3, 1).double().numpy() + 1) * 127.5
    assert np.abs(g.sample(2, seed=5) - levels).max() < 0.51


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_the_size_of_inference_batches_moves_no_pixel_by_more_than_one_level(
    g: Generator, d: Discriminator, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A convolution may sum in another order for another batch: at most one level of 255."""
    images, maps = g.sample(7, return_attention=True)
    features, looked = d.features(images), d.attention(images)
    monkeypatch.setattr(base, "BATCH_SIZE", batch_size)
    again, maps_again = g.sample(7, return_attention=True)
    assert np.abs(again.astype(int) - images.astype(int)).max() <= 1
    np.testing.assert_allclose(d.features(images), features, rtol=1e-4, atol=1e-4)
    for one, other in [(maps, maps_again), (looked, d.attention(images))]:
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(other[name], one[name], atol=1e-5)


def test_the_first_samples_stay_when_more_are_asked_for(g: Generator) -> None:
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


def test_generator_maps_are_float32_rows_that_sum_to_one_and_images_the_same(g: Generator) -> None:
    images, maps = g.sample(3, return_attention=True)
    assert (g.sample(3) == images).all()
    assert {name: array.shape for name, array in maps.items()} == {
        "generator.attention_8": (3, 64, 16),
        "generator.attention_16": (3, 256, 64),
    }
    for array in maps.values():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array.sum(axis=2), 1, atol=1e-5)


def test_maps_belong_to_their_images_across_batches(
    g: Generator, d: Discriminator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "BATCH_SIZE", 2)
    z = seeded_latents(5, 8, 0)
    images, maps = g.sample(5, latents=z, return_attention=True)
    looked = d.attention(images)
    for i in range(5):
        _, alone = g.sample(1, latents=z[i : i + 1], return_attention=True)
        for name, array in alone.items():
            np.testing.assert_allclose(maps[name][i], array[0], atol=1e-5)
        for name, array in d.attention(images[i : i + 1]).items():
            np.testing.assert_allclose(looked[name][i], array[0], atol=1e-5)


def test_features_are_what_the_last_linear_layer_weighs(d: Discriminator) -> None:
    """The logit is affine in them, with the linear layer's weight and bias."""
    images = pictures(3)
    with torch.no_grad():
        floats = torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
        logits = d(floats).double().numpy()
        weight, bias = d.linear.weight.double().numpy()[0], d.linear.bias.double().item()
    features = d.features(images)
    assert features.dtype == np.float32
    assert features.shape == (3, 8)
    assert features.min() >= 0
    np.testing.assert_allclose(features.astype(float) @ weight + bias, logits, rtol=1e-4, atol=1e-4)


def test_no_pictures_give_empty_features(d: Discriminator) -> None:
    assert d.features(pictures(0)).shape == (0, 8)


def test_no_pictures_give_empty_maps(d: Discriminator) -> None:
    assert {name: m.shape for name, m in d.attention(pictures(0)).items()} == {
        "discriminator.attention_16": (0, 256, 64),
        "discriminator.attention_8": (0, 64, 16),
    }


def test_no_samples_are_an_empty_array_and_empty_maps(g: Generator) -> None:
    assert g.sample(0).shape == (0, 32, 32, 3)
    _, maps = g.sample(0, return_attention=True)
    assert {name: m.shape for name, m in maps.items()} == {
        "generator.attention_8": (0, 64, 16),
        "generator.attention_16": (0, 256, 64),
    }


def test_pictures_may_be_mirrored_views(d: Discriminator) -> None:
    mirrored = pictures(3)[:, :, ::-1]
    np.testing.assert_array_equal(d.features(mirrored), d.features(mirrored.copy()))


def test_pictures_may_be_read_only_as_memory_mapped_sets_are(d: Discriminator) -> None:
    images = pictures(3)
    expected = d.features(images)
    images.setflags(write=False)
    np.testing.assert_array_equal(d.features(images), expected)


@pytest.mark.parametrize(
    "images",
    [
        pictures(2, 16),
        pictures(2).astype(np.float32),
        pictures(2)[0],
        pictures(2).transpose(0, 3, 1, 2),
        pictures(2)[..., :1],
    ],
)
def test_pictures_of_another_size_or_type_are_an_error_that_says_what_is_taken(
    d: Discriminator, images: Any
) -> None:
    for method in (d.features, d.attention):
        with pytest.raises(SaganError, match=r"uint8 images of shape \(num, 32, 32, 3\)"):
            method(images)


# --- state --------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_every_single_layer_is_as_it_was(
    g: Generator, d: Discriminator, training: bool
) -> None:
    """A network may be partly frozen, say a batch norm in evaluation mode."""
    for original in (g, d):
        network = copy.deepcopy(original).train(training)
        network.self_attention["8"].train(not training)
        before = {name: layer.training for name, layer in network.named_modules()}
        if isinstance(network, Generator):
            network.sample(1, return_attention=True)
        else:
            network.features(pictures(1))
            network.attention(pictures(1))
        assert {name: layer.training for name, layer in network.named_modules()} == before


@pytest.mark.parametrize("method", ["sample", "features", "attention"])
def test_a_failure_leaves_mode_and_hooks_as_they_were(
    g: Generator, d: Discriminator, method: str
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    network: Any = copy.deepcopy(g if method == "sample" else d).train()
    handle = network.blocks[-1].register_forward_hook(fail)
    argument = 1 if method == "sample" else pictures(1)
    with pytest.raises(KeyboardInterrupt) as caught:  # holds the frames, as a debugger does
        getattr(network, method)(argument)
    handle.remove()
    assert caught.tb is not None
    assert network.training
    assert not any(layer._forward_pre_hooks for layer in network.modules())


def test_results_need_no_gradient_and_leave_grad_mode_on(g: Generator) -> None:
    g.sample(1)
    assert torch.is_grad_enabled()


# --- grids --------------------------------------------------------------------------------------


def test_a_grid_holds_every_picture_in_reading_order_on_white() -> None:
    images = pictures(5, size=4)
    grid = image_grid(images, columns=3)
    assert grid.shape == (2 * 4 + 2, 3 * 4 + 2 * 2, 3)
    for i in range(5):
        top, left = (i // 3) * 6, (i % 3) * 6
        assert (grid[top : top + 4, left : left + 4] == images[i]).all()
    assert (grid[4:6] == 255).all()
    assert (grid[:, 4:6] == 255).all()
    assert (grid[6:, 12:] == 255).all()


def test_grid_labels_take_the_classes_in_turn() -> None:
    assert grid_labels(5, 3) == [0, 1, 2, 0, 1]
    assert grid_labels(4, 1000) == [0, 1, 2, 3]
    assert grid_labels(5, 0) is None


@settings(max_examples=50, deadline=None)
@given(num=st.integers(1, 300), turns=st.integers(0, 40))
def test_a_grid_is_near_square_with_a_class_per_column_where_that_fits(
    num: int, turns: int
) -> None:
    columns = grid_columns(num, turns)
    assert 1 <= columns <= num
    if 2 <= turns <= 16:
        assert columns % turns == 0 or columns == num
        assert abs(columns - num**0.5) <= max(turns / 2, turns - num**0.5) + 1e-9
    else:
        assert (columns - 1) ** 2 < num <= columns**2


def test_every_image_of_a_long_list_is_of_its_own_label_and_latent(
    conditional: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, latents = [0, 1, 2, 2, 1, 0, 0], seeded_latents(7, 8, 0)
    monkeypatch.setattr(base, "BATCH_SIZE", 3)
    parts = conditional.sample(7, labels).astype(int)
    for i, label in enumerate(labels):
        (alone,) = conditional.sample(1, [label], latents=latents[i : i + 1])
        assert np.abs(parts[i] - alone).max() <= 1
