"""Which rows and which labels take part."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sagan.metrics.subject import shared_labels, spread


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_spread_rows_are_distinct_in_order_and_evenly_apart(available: int, num: int) -> None:
    rows = spread(available, num)
    assert len(rows) == min(available, num)
    assert rows[0] == 0
    assert rows[-1] < available
    gaps = np.diff(rows)
    assert len(gaps) == 0 or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)


@given(st.integers(1, 500), st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_labels_come_in_the_proportions_asked_for(num: int, counts: list[int]) -> None:
    counts[0] += 1  # one class at least has pictures
    labels = shared_labels(num, np.array(counts))
    assert labels.shape == (num,)
    found = np.bincount(labels, minlength=len(counts))
    exact = num * np.array(counts) / sum(counts)
    assert np.abs(found - exact).max() < 1
    assert all(found[i] == 0 for i, count in enumerate(counts) if count == 0)


def test_the_first_labels_have_the_proportions_of_all() -> None:
    labels = shared_labels(1000, np.array([500, 300, 200]))
    first = np.bincount(labels[:100])
    assert np.abs(first - [50, 30, 20]).max() <= 1
