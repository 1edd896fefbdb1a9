"""The order of images is a pure function of (seed, batch number)."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagan.data.batches import BatchOrder, permutation
from sagan.training.shards import Shards

SIZES = {"num": st.integers(1, 50), "batch_size": st.integers(1, 70), "seed": st.integers(0, 2**80)}


@given(**SIZES)
def test_every_image_comes_exactly_once_in_each_epoch(num: int, batch_size: int, seed: int) -> None:
    order = BatchOrder(num, batch_size, seed)
    batches = [order.indices(batch) for batch in range(-(-3 * num // batch_size))]
    assert all(batch.shape == (batch_size,) and batch.dtype == np.int64 for batch in batches)
    stream = np.concatenate(batches)[: 3 * num].reshape(3, num)
    assert (np.sort(stream, axis=1) == np.arange(num)).all()


@given(**SIZES, asked=st.lists(st.integers(0, 40), min_size=1, max_size=20))
def test_a_batch_is_the_same_whatever_was_asked_for_before(
    num: int, batch_size: int, seed: int, asked: list[int]
) -> None:
    order = BatchOrder(num, batch_size, seed)
    for batch in asked:
        fresh = BatchOrder(num, batch_size, seed).indices(batch)
        assert np.array_equal(order.indices(batch), fresh)


def test_changing_a_batch_in_place_does_not_change_the_next_answer() -> None:
    order = BatchOrder(10, 5, seed=0)
    first = order.indices(0).copy()
    order.indices(0)[:] = -1
    assert np.array_equal(order.indices(0), first)


def test_epochs_and_seeds_differ_from_one_another() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (2**32, 0), (2**32, 1), (5 + 2**32, 0), (5, 1)]
    orders = {tuple(permutation(100, seed, epoch)) for seed, epoch in keys}
    assert len(orders) == len(keys)


def test_the_first_image_of_an_epoch_is_any_with_equal_chance() -> None:
    firsts = np.bincount([permutation(4, 0, epoch)[0] for epoch in range(4000)], minlength=4)
    # Chi-squared with 3 degrees of freedom exceeds 16.3 once in a thousand times.
    assert ((firsts - 1000) ** 2 / 1000).sum() < 16.3


def test_the_order_is_the_same_on_every_machine_and_numpy() -> None:
    # Another order than this would silently break resuming a run begun with an older version.
    assert permutation(8, seed=0, epoch=0).tolist() == EXPECTED_00
    assert permutation(8, seed=7, epoch=3).tolist() == EXPECTED_73


EXPECTED_00 = [1, 4, 5, 6, 2, 0, 3, 7]
EXPECTED_73 = [4, 5, 1, 0, 3, 6, 2, 7]


def test_a_batch_costs_next_to_nothing_once_its_epoch_is_made() -> None:
    order = BatchOrder(1_000_000, 64, seed=0)
    order.indices(0)
    start = time.perf_counter()
    for batch in range(1000):
        order.indices(batch)
    # A permutation of a million takes a tenth of a second; a thousand of them would take minutes.
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("arguments", [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_arguments_out_of_range_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        BatchOrder(*arguments)
    with pytest.raises(ValueError, match="out of range"):
        BatchOrder(1, 1, 0).indices(-1)


@given(**SIZES, num_processes=st.integers(1, 4), accumulation=st.integers(1, 3))
def test_no_two_processes_see_the_same_image_within_an_epoch(
    num: int, batch_size: int, seed: int, num_processes: int, accumulation: int
) -> None:
    """Shares of the global batch are those of the training loop."""
    shards = num_processes * accumulation
    size = -(-batch_size // shards)
    order = BatchOrder(num, size * shards, seed)
    seen: list[list[int]] = [[] for _ in range(num_processes)]
    for batch in range(num // (size * shards)):  # whole batches of the first epoch
        rows = order.indices(batch)
        for rank in range(num_processes):
            share = Shards(tuple(range(rank, shards, num_processes)), size)
            for i in share.indices:
                seen[rank] += rows[i * share.size : (i + 1) * share.size].tolist()
    together = [row for rows in seen for row in rows]
    assert len(together) == len(set(together)) == num // (size * shards) * size * shards
