"""Heat, its interpolation and the outline, as numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from sagan.explain.overlay import heat, outline, upsample_bilinear


def test_uniform_attention_is_not_highlighted():
    assert (heat(np.full(64, 1 / 64)) == 0).all()


def test_noise_around_uniform_stays_dark():
    weights = np.random.default_rng(0).normal(1, 0.1, 64)
    assert heat(weights / weights.sum()).max() < 0.2


def test_heat_is_the_logarithm_of_the_multiple_of_uniform():
    weights = np.array([0.5, 0.25, 0.125, 0.125] + [0.0] * 12)  # 8, 4, 2, 2 times uniform
    np.testing.assert_allclose(heat(weights)[:4], [1, 2 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(heat(weights, peak=64)[:4], [1 / 2, 1 / 3, 1 / 6, 1 / 6])
    np.testing.assert_allclose(heat(weights, peak=2)[:4], 1)
    assert (heat(weights)[4:] == 0).all()


@pytest.mark.parametrize("peak", [1, 0.5, float("nan")])
def test_a_peak_that_is_not_above_uniform_is_refused(peak):
    with pytest.raises(ValueError, match="peak"):
        heat(np.full(4, 0.25), peak)


@pytest.mark.parametrize(("side", "size"), [(1, 8), (4, 16), (8, 32), (5, 13)])
def test_upsampling_agrees_with_a_plain_loop(side, size):
    grid = np.random.default_rng(0).random((side, side))

    def tent(i, cell):
        position = min(max((i + 0.5) * side / size - 0.5, 0), side - 1)
        return max(0.0, 1 - abs(position - cell))

    expected = [
        [
            sum(tent(y, a) * tent(x, b) * grid[a, b] for a in range(side) for b in range(side))
            for x in range(size)
        ]
        for y in range(size)
    ]
    np.testing.assert_allclose(upsample_bilinear(grid, size), expected)


def test_the_outline_of_one_cell_is_its_four_sides():
    region = np.zeros((4, 4), dtype=bool)
    region[1, 2] = True
    sides = {tuple(map(tuple, segment)) for segment in outline(region).tolist()}
    assert sides == {
        ((0.5, 0.25), (0.75, 0.25)),
        ((0.5, 0.5), (0.75, 0.5)),
        ((0.5, 0.25), (0.5, 0.5)),
        ((0.75, 0.25), (0.75, 0.5)),
    }


def test_a_rectangle_has_four_segments_and_an_empty_region_has_none():
    region = np.zeros((8, 8), dtype=bool)
    assert outline(region).shape == (0, 2, 2)
    region[2:5, 1:7] = True
    assert len(outline(region)) == 4


@given(hnp.arrays(np.bool_, (5, 5)))
@settings(max_examples=100)
def test_the_outline_is_as_long_as_the_border(region):
    padded = np.pad(region, 1)
    border = sum(
        padded[i, j] != padded[i + di, j + dj]
        for i in range(6)
        for j in range(6)
        for di, dj in ((0, 1), (1, 0))
    )
    length = sum(math.dist(start, stop) for start, stop in outline(region))
    assert length * 5 == pytest.approx(border)
