"""Which rows and which labels are used."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sagan.metrics.measures.inputs import Features, evenly_spaced, proportional_labels


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_evenly_spaced_rows_are_distinct_ascending_and_evenly_apart(
    available: int, num: int
) -> None:
    rows = evenly_spaced(available, num)
    assert len(rows) == min(available, num)
    assert rows[0] == 0
    assert rows[-1] < available
    gaps = np.diff(rows)
    assert len(gaps) == 0 or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)


@given(st.integers(1, 500), st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_labels_have_the_requested_proportions(num: int, counts: list[int]) -> None:
    counts[0] += 1  # at least one class has images
    labels = proportional_labels(num, np.array(counts))
    assert labels.shape == (num,)
    found = np.bincount(labels, minlength=len(counts))
    exact = num * np.array(counts) / sum(counts)
    assert np.abs(found - exact).max() < 1
    assert all(found[i] == 0 for i, count in enumerate(counts) if count == 0)


@given(
    st.integers(1, 500),
    st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(any),
    st.data(),
)
def test_the_first_labels_have_the_proportions_of_all(
    num: int, counts: list[int], data: st.DataObject
) -> None:
    """So metrics may use only the first samples."""
    labels = proportional_labels(num, np.array(counts))
    first = data.draw(st.integers(1, num))
    found = np.bincount(labels[:first], minlength=len(counts))
    exact = first * np.bincount(labels, minlength=len(counts)) / num
    assert np.abs(found - exact).max() <= 1 + len(counts) / 2


def test_the_first_samples_have_all_classes_however_many_samples_there_are() -> None:
    for num in (10, 20_000, 50_000):
        assert set(proportional_labels(num, np.full(10, 100))[:10]) == set(range(10))


def test_features_at_some_rows_have_the_labels_of_these_rows() -> None:
    features, labels = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([7, 5, 6, 8])
    rows = np.array([1, 3])
    some = Features(features, labels).at(rows)
    assert some.features.tolist() == [[3, 4, 5], [9, 10, 11]]
    assert some.labels is not None
    assert some.labels.tolist() == [5, 8]
    assert Features(features, None).at(rows).labels is None
