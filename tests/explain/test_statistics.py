"""Measures of attention maps, checked by hand and against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagan.explain import (
    attended_region,
    attention_beyond,
    attention_distance,
    attention_entropy,
    concentration,
    uniform_distance,
)


def random_attention(num, queries, keys, seed=0, dtype=np.float32):
    logits = np.random.default_rng(seed).normal(0, 2, (num, queries, keys))
    weights = np.exp(logits)
    return (weights / weights.sum(-1, keepdims=True)).astype(dtype)


def uniform_attention(queries, keys):
    return np.full((1, queries, keys), 1 / keys, dtype=np.float32)


def delta_attention(queries, keys, key):
    attention = np.zeros((1, queries, keys), dtype=np.float32)
    attention[..., key] = 1
    return attention


def row_strategy():
    """Rows of 16 weights, many of them equal or zero."""
    weights = st.lists(st.integers(0, 5), min_size=16, max_size=16).filter(any)
    return weights.map(lambda w: np.array(w, dtype=np.float32) / sum(w))


def test_uniform_attention_has_the_entropy_log_m():
    np.testing.assert_allclose(attention_entropy(uniform_attention(256, 64)), math.log(64))
    np.testing.assert_allclose(
        attention_entropy(uniform_attention(256, 64), normalized=True), 1, rtol=1e-7
    )


def test_attention_to_one_key_has_no_entropy_and_no_negative_zero():
    entropy = attention_entropy(delta_attention(16, 16, 3))
    assert (entropy == 0).all()
    assert not np.signbit(entropy).any()


def test_with_a_single_key_entropy_is_zero():
    assert attention_entropy(np.ones((1, 4, 1)), normalized=True).tolist() == [[0, 0, 0, 0]]


def test_entropy_agrees_with_a_plain_loop():
    attention = random_attention(2, 16, 4)
    expected = [[-sum(float(p) * math.log(p) for p in row) for row in image] for image in attention]
    np.testing.assert_allclose(attention_entropy(attention), expected, rtol=1e-6)


def test_distance_to_one_key_is_the_distance_of_the_centers():
    # 4 x 4 queries on 32 pixels: query 0 at (4, 4), key 7 in row 1, column 3 at (28, 12)
    distance = attention_distance(delta_attention(16, 16, 7), 32)
    assert distance[0, 0] == pytest.approx(math.hypot(24, 8))
    assert distance[0, 7] == 0


def test_distance_to_a_pooled_key_is_to_the_middle_of_its_block():
    # 4 x 4 queries, 2 x 2 keys: key 3 covers rows and columns 2, 3, its center at (24, 24)
    distance = attention_distance(delta_attention(16, 4, 3), 32)
    assert distance[0, 0] == pytest.approx(math.hypot(20, 20))
    assert distance[0, 15] == pytest.approx(math.hypot(4, 4))  # (28, 28), in the key's own block


@pytest.mark.parametrize(("queries", "keys"), [(16, 16), (64, 16)])
def test_distance_agrees_with_a_plain_loop(queries, keys):
    attention = random_attention(2, queries, keys)
    size, query_side, key_side = 64, math.isqrt(queries), math.isqrt(keys)

    def center(index, side):
        return (index % side + 0.5) * size / side, (index // side + 0.5) * size / side

    expected = [
        [
            sum(
                float(p) * math.dist(center(n, query_side), center(m, key_side))
                for m, p in enumerate(row)
            )
            for n, row in enumerate(image)
        ]
        for image in attention
    ]
    np.testing.assert_allclose(attention_distance(attention, size), expected, rtol=1e-6)


def test_distance_is_in_image_pixels():
    attention = random_attention(1, 16, 16)
    np.testing.assert_allclose(
        attention_distance(attention, 128), 4 * attention_distance(attention, 32)
    )


def test_uniform_distance_is_the_distance_of_uniform_attention():
    np.testing.assert_allclose(
        uniform_distance(8, 4, 32), attention_distance(uniform_attention(64, 16), 32)[0]
    )


def test_half_precision_rows_are_divided_by_their_sum():
    exact = random_attention(1, 16, 16, dtype=np.float64)
    off = exact * 1.01  # as bfloat16 rows may be
    np.testing.assert_allclose(attention_entropy(off), attention_entropy(exact))
    np.testing.assert_allclose(attention_distance(off, 32), attention_distance(exact, 32))
    np.testing.assert_allclose(concentration(off), concentration(exact))


@pytest.mark.parametrize("sum_", [0.981, 1.019])
def test_rows_within_two_percent_of_1_are_accepted(sum_):
    attention = random_attention(1, 16, 16, dtype=np.float64)
    np.testing.assert_allclose(attention_entropy(sum_ * attention), attention_entropy(attention))
    assert (attended_region(sum_ * attention[0, 3]) == attended_region(attention[0, 3])).all()


@pytest.mark.parametrize("sum_", [0.979, 1.021])
def test_one_row_more_than_two_percent_off_is_refused(sum_):
    attention = random_attention(2, 16, 16, dtype=np.float64)
    attention[1, 9] *= sum_
    for measure in (attention_entropy, concentration, lambda a: attention_distance(a, 32)):
        with pytest.raises(ValueError, match="sum to 1"):
            measure(attention)
    with pytest.raises(ValueError, match="sum to 1"):
        attended_region(attention[1, 9])


@pytest.mark.parametrize(("queries", "keys"), [(16, 16), (64, 16)])
def test_attention_beyond_a_field_agrees_with_a_plain_loop(queries, keys):
    attention = random_attention(2, queries, keys)
    size, query_side, key_side = 32, math.isqrt(queries), math.isqrt(keys)
    cell = size // key_side
    starts = np.random.default_rng(1).integers(0, size - 6, query_side)
    spans = np.stack([starts, starts + 6], axis=-1)

    def seen(n, m):
        """Whether a pixel of the key's cell lies in the query's field, in both directions."""
        return all(
            any(spans[q][0] <= pixel < spans[q][1] for pixel in range(k * cell, (k + 1) * cell))
            for q, k in (
                (n // query_side, m // key_side),
                (n % query_side, m % key_side),
            )
        )

    expected = [
        [sum(float(p) for m, p in enumerate(row) if not seen(n, m)) for n, row in enumerate(image)]
        for image in attention
    ]
    np.testing.assert_allclose(attention_beyond(attention, spans, size), expected, atol=1e-6)


def test_no_attention_is_beyond_a_field_that_is_the_whole_image():
    whole = np.tile([0, 32], (4, 1))
    assert (attention_beyond(random_attention(1, 16, 4), whole, 32) == 0).all()


def test_the_fields_of_another_grid_are_refused():
    with pytest.raises(ValueError, match="spans"):
        attention_beyond(uniform_attention(16, 4), np.zeros((3, 2), dtype=np.int64), 32)


@pytest.mark.parametrize("keys", [64, 100])
def test_concentration_of_uniform_attention_is_one_half(keys):
    assert (concentration(uniform_attention(4 * keys, keys)) == 0.5).all()


def test_concentration_of_one_key_is_one_key():
    assert (concentration(delta_attention(16, 16, 3), mass=0.99) == 1 / 16).all()


@given(row_strategy(), st.sampled_from([0.1, 0.25, 0.5, 0.9, 1.0]))
@settings(max_examples=300)
def test_the_region_has_the_mass_and_no_smaller_set_does(row, mass):
    region = attended_region(row, mass)
    assert region.shape == row.shape
    assert region.dtype == np.bool_
    assert row[region].astype(float).sum() >= mass - 2e-6
    # The best smaller set consists of the largest weights.
    best_smaller = np.sort(row)[::-1][: region.sum() - 1].astype(float).sum()
    assert best_smaller < mass


@given(row_strategy(), st.floats(0.01, 1))
@settings(max_examples=100)
def test_concentration_is_the_share_of_the_region(row, mass):
    attention = np.broadcast_to(row, (1, 16, 16))
    assert (concentration(attention, mass) == attended_region(row, mass).mean()).all()


def test_equal_keys_are_taken_in_row_major_order():
    assert attended_region(np.full(4, 0.25), 0.5).tolist() == [True, True, False, False]
    assert attended_region(np.array([0.2, 0.3, 0.2, 0.3]), 0.7).tolist() == [
        True,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("attention", "reason"),
    [
        (np.full((16, 16), 1 / 16), "shape"),
        (np.zeros((1, 16, 0)), "sum to 1"),
        (np.ones((1, 16, 16)), "sum to 1"),
        (np.full((1, 16, 16), np.nan), "sum to 1"),
        (np.tile([-1.0, 2.0, 0.0, 0.0], (1, 16, 1)), "at least 0"),
    ],
)
def test_an_array_that_is_not_an_attention_map_is_refused(attention, reason):
    with pytest.raises(ValueError, match=reason):
        attention_entropy(attention)
    with pytest.raises(ValueError, match=reason):
        attention_distance(attention, 32)
    with pytest.raises(ValueError, match=reason):
        concentration(attention)


@pytest.mark.parametrize(
    ("shape", "size", "reason"),
    [
        ((1, 15, 16), 32, "15 positions do not form a square grid"),
        ((1, 16, 8), 32, "square"),
        ((1, 25, 4), 32, "tile"),
        ((1, 16, 16), (64, 96), "a grid with sides as 2 to 3"),
    ],
)
def test_a_map_that_does_not_tile_the_image_has_no_distances(shape, size, reason):
    with pytest.raises(ValueError, match=reason):
        attention_distance(np.full(shape, 1 / shape[-1]), size)


def test_on_a_wide_image_cells_are_where_they_would_be_on_a_square_around_it():
    """4 x 6 queries and 2 x 3 keys on 32 x 48 pixels, inside 6 x 6 and 3 x 3 on 48 x 48."""
    attention = random_attention(2, 24, 6)
    wide = np.zeros((2, 6, 6, 3, 3))
    wide[:, :4, :, :2, :] = attention.reshape(2, 4, 6, 2, 3)
    wide[:, 4:, :, 0, 0] = 1  # the queries below the image do not matter
    square = wide.reshape(2, 36, 9)
    expected = attention_distance(square, 48).reshape(2, 6, 6)[:, :4]
    found = attention_distance(attention, (32, 48)).reshape(2, 4, 6)
    np.testing.assert_allclose(found, expected)
    across = np.array([[0, 8], [8, 20], [16, 24], [20, 30], [32, 40], [40, 48]])
    expected = attention_beyond(square, (across, across), 48).reshape(2, 6, 6)[:, :4]
    found = attention_beyond(attention, (across[:4], across), (32, 48)).reshape(2, 4, 6)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("mass", [0, -1, 1.01, float("nan")])
def test_a_mass_outside_0_to_1_is_refused(mass):
    with pytest.raises(ValueError, match="mass"):
        attended_region(np.full(4, 0.25), mass)
    with pytest.raises(ValueError, match="mass"):
        concentration(uniform_attention(4, 4), mass)


def test_a_region_needs_a_single_row():
    with pytest.raises(ValueError, match="one row"):
        attended_region(np.full((2, 4), 0.25))


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match="0 pixels"):
        attention_distance(uniform_attention(4, 4), 0)
