"""The order by windows is a function of (seed, batch, lane) that needs few shards at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagan.data import BatchOrder
from sagan.data.shards.layout import ShardLayout
from sagan.data.windows import WindowedOrder, order_of
from sagan.errors import SaganError
from tests.data.shards.conftest import Packed

CASES = {
    "num": st.integers(1, 60),
    "per_shard": st.integers(1, 9),
    "size": st.integers(1, 12),
    "seed": st.integers(0, 2**70),
    "window": st.integers(1, 8),
    "lanes": st.integers(1, 3),
}


def windowed(
    num: int, per_shard: int, size: int, seed: int, window: int, lanes: int
) -> WindowedOrder:
    layout = ShardLayout(num, per_shard)
    lanes = min(lanes, layout.num_shards)
    return WindowedOrder(layout, lanes * size, seed, window, lanes)


@given(**CASES)
def test_every_image_of_a_lane_comes_exactly_once_in_each_of_its_epochs(
    num: int, per_shard: int, size: int, seed: int, window: int, lanes: int
) -> None:
    layout = ShardLayout(num, per_shard)
    order = windowed(num, per_shard, size, seed, window, lanes)
    lanes = min(lanes, layout.num_shards)
    seen: list[int] = []
    for lane in range(lanes):
        own = np.concatenate([layout.rows(k) for k in range(lane, layout.num_shards, lanes)])
        batches = -(-2 * len(own) // size)
        stream = np.concatenate([order.part(batch, lane) for batch in range(batches)])
        epochs = np.sort(stream[: 2 * len(own)].reshape(2, -1), axis=1)
        assert (epochs == np.sort(own)).all()
        seen += own.tolist()
    assert sorted(seen) == list(range(num))  # lanes share no image


@given(**CASES, asked=st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_a_batch_is_the_same_whatever_was_asked_for_before(
    num: int, per_shard: int, size: int, seed: int, window: int, lanes: int, asked: list[int]
) -> None:
    order = windowed(num, per_shard, size, seed, window, lanes)
    for batch in asked:
        fresh = windowed(num, per_shard, size, seed, window, lanes)
        assert np.array_equal(order.indices(batch), fresh.indices(batch))
        assert order.ahead(batch, [0]) == fresh.ahead(batch, [0])


@given(**CASES, batch=st.integers(0, 50))
def test_a_batch_no_larger_than_a_window_needs_only_the_shards_read_ahead(
    num: int, per_shard: int, size: int, seed: int, window: int, lanes: int, batch: int
) -> None:
    layout = ShardLayout(num, per_shard)
    order = windowed(num, per_shard, size, seed, window, lanes)
    for lane in range(min(lanes, layout.num_shards)):
        ahead = order.ahead(batch, [lane])
        assert len(ahead) <= 2 * window
        needed = set((layout.places[order.part(batch, lane)] // per_shard).tolist())
        first = layout.places[order.part(batch, lane)[0]] // per_shard
        assert first in ahead[:window]
        if size <= layout.size(layout.num_shards - 1):  # no window is smaller
            assert needed <= set(ahead)


def test_epochs_seeds_and_lanes_differ_from_one_another() -> None:
    orders = [WindowedOrder(ShardLayout(60, 5), 60, seed, 2) for seed in (0, 1)]
    assert len({tuple(order.indices(batch)) for order in orders for batch in (0, 1)}) == 4


def test_the_order_by_windows_is_the_same_on_every_machine_and_numpy() -> None:
    # Another order than this would silently break resuming a run begun with an older version.
    order = WindowedOrder(ShardLayout(12, 2), 6, seed=7, window=2, lanes=2)
    assert order.indices(0).tolist() == EXPECTED_0
    assert order.indices(5).tolist() == EXPECTED_5


EXPECTED_0 = [1, 2, 10, 8, 5, 0]
EXPECTED_5 = [9, 6, 7, 11, 4, 5]


def test_both_forms_of_a_set_are_seen_in_the_same_order(packed: Packed) -> None:
    one = order_of(packed.one, 6, 3, 0, 2)
    many = order_of(packed.many, 6, 3, 0, 2)
    assert isinstance(many, BatchOrder)
    assert many.indices(20).tolist() == one.indices(20).tolist()
    assert many.part(20, 1).tolist() == one.indices(20)[3:].tolist()
    assert many.ahead(20, [0, 1]) == ()
    # In one shard, since a set in one piece has shards of the default size.
    assert isinstance(order_of(packed.one, 6, 3, 1), WindowedOrder)


def test_fewer_shards_than_processes_are_refused(packed: Packed) -> None:
    with pytest.raises(SaganError, match=r"7 shards for 8 processes .* smaller --shard-mb"):
        order_of(packed.many, 8, 0, 1, 8)


@pytest.mark.parametrize("arguments", [(0, 0, 1, 1), (4, -1, 1, 1), (4, 0, 0, 1), (4, 0, 1, 3)])
def test_arguments_out_of_range_are_refused(arguments: tuple[int, int, int, int]) -> None:
    layout = ShardLayout(10, 3)
    with pytest.raises(ValueError, match="out of range"):
        WindowedOrder(layout, *arguments)
    with pytest.raises(ValueError, match="out of range"):
        WindowedOrder(layout, 4, 0, 1).indices(-1)
