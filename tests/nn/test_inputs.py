"""Latents are a function of the seed, and labels are checked."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sagan.errors import SaganError
from sagan.nn.inputs import check_labels, seeded_latents


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
