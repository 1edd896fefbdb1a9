"""Images are arranged in grids, in reading order and near square."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sagan.images.grid import grid_columns, image_grid


def test_a_grid_contains_every_image_in_reading_order_on_white() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    grid = image_grid(images, columns=3)
    assert grid.shape == (2 * 4 + 2, 3 * 4 + 2 * 2, 3)
    for i in range(5):
        top, left = (i // 3) * 6, (i % 3) * 6
        assert (grid[top : top + 4, left : left + 4] == images[i]).all()
    assert (grid[4:6] == 255).all()
    assert (grid[:, 4:6] == 255).all()
    assert (grid[6:, 12:] == 255).all()


@settings(max_examples=50)
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
