"""Latents are a function of the seed, and labels are checked."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sagan.errors import SaganError
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.dcgan import DCGANDiscriminator, DCGANGenerator
from sagan.nn.inputs import check_labels, seeded_latents
from sagan.nn.resnet import Discriminator, Generator


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**64),
    size=st.integers(1, 40),
    few=st.integers(0, 30),
    more=st.integers(0, 60),
)
def test_a_latent_depends_only_on_the_seed_and_its_index(
    seed: int, size: int, few: int, more: int
) -> None:
    longer = seeded_latents(few + more, size, seed)
    assert longer.shape == (few + more, size)
    assert longer.dtype == torch.float32
    assert torch.equal(seeded_latents(few, size, seed), longer[:few])


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), other=st.integers(0, 2**32))
def test_different_seeds_give_different_latents(seed: int, other: int) -> None:
    same = (seeded_latents(4, 8, seed) == seeded_latents(4, 8, other)).all(dim=1)
    assert same.all() if seed == other else not same.any()


def test_latents_are_standard_normal_and_uncorrelated() -> None:
    z = seeded_latents(20_000, 4, seed=3).double()
    assert z.mean(dim=0).abs().max() < 0.03
    assert (torch.cov(z.T) - torch.eye(4)).abs().max() < 0.05
    assert (z.pow(4).mean() - 3).abs() < 0.15


def test_latents_are_the_same_numbers_on_every_machine() -> None:
    """numpy does not promise to keep Philox 4x64 with its ziggurat; if it changes, this fails."""
    expected = [[-0.50237358, 0.50684536, 2.01934862], [0.85149574, 0.18355125, 0.49399969]]
    assert torch.equal(seeded_latents(2, 3, seed=7), torch.tensor(expected))


def test_latents_do_not_change_the_global_rngs() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    seeded_latents(10, 10, 0)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # type: ignore[index] # noqa: NPY002


def test_valid_labels_are_accepted() -> None:
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
def test_invalid_labels_are_an_error_in_one_line(
    labels: Any, num: int, num_classes: int, message: str
) -> None:
    tensor = None if labels is None else torch.tensor(labels)
    with pytest.raises(SaganError, match=message) as caught:
        check_labels(tensor, num, num_classes)
    assert "\n" not in str(caught.value)


# --- forward passes -----------------------------------------------------------------------------

INT = torch.int64
NETWORKS: dict[str, tuple[Callable[[], Any], Any]] = {  # a network, and what it takes
    "generator": (lambda: Generator(32, 2, latent_size=8), (8,)),
    "conditional generator": (lambda: Generator(32, 2, latent_size=8, num_classes=3), (8,)),
    "dcgan generator": (lambda: DCGANGenerator(2, latent_size=8, attention=None), (8,)),
    "discriminator": (lambda: Discriminator(32, 2), (3, 32, 32)),
    "conditional discriminator": (lambda: Discriminator(32, 2, num_classes=3), (3, 32, 32)),
    "dcgan discriminator": (lambda: DCGANDiscriminator(2, attention=None), (3, 64, 64)),
}
UNCONDITIONAL = [name for name in NETWORKS if "conditional" not in name]
CONDITIONAL = [name for name in NETWORKS if "conditional" in name]


def built(name: str) -> tuple[Any, Any]:
    build, shape = NETWORKS[name]
    return build(), shape


@pytest.mark.parametrize("name", NETWORKS)
def test_a_forward_pass_takes_the_documented_shapes_also_of_an_empty_batch(name: str) -> None:
    network, shape = built(name)
    for batch in (0, 2):
        labels = (torch.zeros(batch, dtype=INT),) if name in CONDITIONAL else ()
        assert len(network.eval()(torch.zeros(batch, *shape), *labels)) == batch


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_labels_for_an_unconditional_network_are_a_value_error(name: str) -> None:
    network, shape = built(name)
    with pytest.raises(ValueError, match="unconditional: leave the labels out"):
        network(torch.zeros(4, *shape), torch.zeros(4, dtype=INT))


@pytest.mark.parametrize(
    "labels",
    [
        torch.zeros(4, 1, dtype=INT),
        torch.zeros(1, dtype=INT),
        torch.zeros(5, dtype=INT),
        torch.zeros((), dtype=INT),
        torch.zeros(4, 3, dtype=INT),
        torch.zeros(4),
        torch.zeros(4, dtype=torch.bool),
    ],
)
@pytest.mark.parametrize("name", CONDITIONAL)
def test_labels_of_another_shape_or_dtype_are_a_value_error_that_names_them(
    name: str, labels: torch.Tensor
) -> None:
    network, shape = built(name)
    expected = rf"shape \(4,\).*not {labels.dtype} {re.escape(str(tuple(labels.shape)))}"
    with pytest.raises(ValueError, match=expected):
        network(torch.zeros(4, *shape), labels)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_missing_labels_are_a_value_error(name: str) -> None:
    network, shape = built(name)
    with pytest.raises(ValueError, match="conditional: give labels"):
        network(torch.zeros(4, *shape))


@pytest.mark.parametrize("name", [name for name in NETWORKS if "discriminator" in name])
def test_images_of_another_shape_or_dtype_are_a_value_error_that_names_both(name: str) -> None:
    network, (_, side, _) = built(name)
    labels = (torch.zeros(2, dtype=INT),) if name in CONDITIONAL else ()
    for shape in [
        (2, 3, side + 8, side + 8),
        (2, 3, side, 2 * side),
        (2, 3, 2 * side, side),
        (2, 1, side, side),
        (2, side, side, 3),
        (2, 3 * side * side),
    ]:
        expected = rf"\(B, 3, {side}, {side}\).*not torch.float32 {re.escape(str(shape))}"
        with pytest.raises(ValueError, match=expected):
            network(torch.zeros(shape), *labels)
        with pytest.raises(ValueError, match=expected):
            network.embed(torch.zeros(shape))
    with pytest.raises(ValueError, match="uint8"):
        network(torch.zeros(2, 3, side, side, dtype=torch.uint8), *labels)


@pytest.mark.parametrize("name", [name for name in NETWORKS if "generator" in name])
@pytest.mark.parametrize("shape", [(2, 7), (8,), (2, 8, 1), (2, 8, 1, 1), (2, 1, 8)])
def test_latents_of_another_shape_or_dtype_are_a_value_error_that_names_both(
    name: str, shape: tuple[int, ...]
) -> None:
    network, _ = built(name)
    labels = (torch.zeros(shape[0], dtype=INT),) if name in CONDITIONAL else ()
    expected = r"\(B, 8\), not torch.float32 " + re.escape(str(shape))
    with pytest.raises(ValueError, match=expected):
        network(torch.zeros(shape), *labels)
    with pytest.raises(ValueError, match="int64"):
        network(torch.zeros(2, 8, dtype=INT), *labels)


# --- constructors -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Generator, Discriminator])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"width": 0}, ValueError, "width must be at least 1, not 0"),
        ({"width": -4}, ValueError, "width must be at least 1, not -4"),
        ({"width": 16.0}, TypeError, "width must be a whole number, not 16.0"),
        ({"width": "16"}, TypeError, "width must be a whole number, not '16'"),
        ({"width": True}, TypeError, "width must be a whole number, not True"),
        ({"num_classes": -1}, ValueError, "num_classes must be at least 0, not -1"),
        ({"num_classes": None}, TypeError, "num_classes must be a whole number, not None"),
        ({"resolution": 40.5}, ValueError, "40.5 is not a size in pixels such as 64 or 96x64"),
        ({"resolution": 16}, ValueError, "no layout for 16 x 16: the shorter side must have 32"),
        ({"resolution": "big"}, ValueError, "'big' is not a size in pixels"),
        ({"resolution": [32, 32]}, ValueError, r"\[32, 32\] is not a size"),
        ({"attention": 16}, TypeError, r"AttentionSpec\(\(16,\)\), not 16"),
        ({"attention": (16,)}, TypeError, "attention must be an AttentionSpec"),
        ({"attention": False}, TypeError, "attention must be an AttentionSpec"),
        ({"spectral_norm": True}, TypeError, r"SpectralSpec\(\) or None, not True"),
        ({"spectral_norm": False}, TypeError, r"SpectralSpec\(\) or None, not False"),
        ({"initializer": "orthogonal"}, TypeError, "initializer must be a function"),
        ({"initializer": None}, TypeError, "initializer must be a function"),
    ],
)
def test_arguments_that_make_no_network_are_an_error_in_a_sentence(
    kind: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kind(**{"resolution": 32, "width": 4} | arguments)


@pytest.mark.parametrize("kind", [DCGANGenerator, DCGANDiscriminator])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"width": 0}, ValueError, "width must be at least 1, not 0"),
        ({"width": 8.0}, TypeError, "width must be a whole number, not 8.0"),
        ({"attention": 16}, TypeError, "attention must be an AttentionSpec"),
        ({"spectral_norm": True}, TypeError, r"SpectralSpec\(\) or None, not True"),
    ],
)
def test_arguments_that_make_no_deconvolution_network_are_an_error_in_a_sentence(
    kind: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kind(**{"width": 8} | arguments)


@pytest.mark.parametrize("latent_size", [0, -1])
def test_latents_without_a_number_in_them_are_a_value_error(latent_size: int) -> None:
    for build in (lambda: Generator(32, 4, latent_size), lambda: DCGANGenerator(8, latent_size)):
        with pytest.raises(ValueError, match="latent_size must be at least 1"):
            build()


@pytest.mark.parametrize("sizes", [16, "16", None, (16.0,), ("16",), {16: 8}])
def test_sizes_of_attention_that_are_not_whole_numbers_in_a_tuple_are_a_type_error(
    sizes: Any,
) -> None:
    with pytest.raises(TypeError, match=r"sizes must be a tuple|size must be a whole number"):
        AttentionSpec(sizes)


def test_numpy_integers_are_whole_numbers() -> None:
    assert Generator(np.int64(32), np.int64(2), latent_size=np.int32(8)).latent_size == 8  # type: ignore[arg-type]
