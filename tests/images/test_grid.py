"""Images are arranged in grids, in reading order and near square."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagan.images.grid import (
    GAP,
    MAX_ENLARGED_PIXELS,
    Captions,
    captioned_grid,
    captions_for,
    grid_columns,
    image_grid,
    split_grid,
    visible_scale,
)
from sagan.images.shape import ImageShape


def noise(num: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (num, size, size, 3), dtype=np.uint8)


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


def test_enlarged_images_have_their_own_pixels_as_squares() -> None:
    images = noise(5, 4)
    grid = image_grid(images, 3, scale=3)
    assert grid.shape == (2 * 12 + GAP, 3 * 12 + 2 * GAP, 3)
    for i, image in enumerate(images):
        top, left = (i // 3) * (12 + GAP), (i % 3) * (12 + GAP)
        cell = grid[top : top + 12, left : left + 12].reshape(4, 3, 4, 3, 3)
        assert (cell == image[:, None, :, None]).all()


@pytest.mark.parametrize(
    ("size", "num", "scale"),
    [(32, 64, 3), (64, 64, 2), (48, 1, 2), (128, 64, 1), (16, 10, 6), (100, 1, 1)],
)
def test_images_are_enlarged_to_96_pixels_at_least(size: int, num: int, scale: int) -> None:
    assert visible_scale(ImageShape(size, size), num) == scale


@settings(max_examples=50)
@given(size=st.integers(1, 512), num=st.integers(1, 10**6))
def test_images_are_not_enlarged_beyond_what_anybody_looks_at(size: int, num: int) -> None:
    scale = visible_scale(ImageShape(size, size), num)
    assert scale == 1 or num * (scale * size) ** 2 <= MAX_ENLARGED_PIXELS


def test_a_grid_can_be_taken_apart_again() -> None:
    images = noise(6, 8)
    cells = split_grid(image_grid(images, 3), ImageShape(8, 8))
    assert cells is not None
    assert cells.shape == (2, 3, 8, 8, 3)
    assert (cells.reshape(6, 8, 8, 3) == images).all()
    assert split_grid(image_grid(images, 3), ImageShape(7, 7)) is None
    assert split_grid(images[0], ImageShape(9, 9)) is None


def test_names_are_written_where_each_appears_least_often() -> None:
    assert captions_for([], 3) == Captions()
    assert captions_for(["cat"] * 5, 3) == Captions(title="cat")
    assert captions_for(["cat", "dog"] * 4, 4) == Captions(columns=["cat", "dog"] * 2)
    assert captions_for(["cat", "dog", "cow"], 4) == Captions(columns=["cat", "dog", "cow"])
    names = ["cat", "dog", "cow"] * 2
    assert captions_for(names, 4) == Captions(images=names)


@pytest.mark.parametrize(
    "captions",
    [
        Captions(title="a title"),
        Captions(columns=["cat", "German shepherd", "dog"]),
        Captions(rows=["first", "a second row with a name too long for any margin at all"]),
        Captions(images=["a", "b", "German shepherd", "c", "d"]),
        Captions(title="step 100", columns=["a", "b", "c"]),
    ],
)
def test_names_leave_every_pixel_of_the_images_as_it_is(captions: Captions) -> None:
    images = noise(5, 32)
    drawn = captioned_grid(images, 3, 3, captions)
    plain = image_grid(images, 3, 3)
    bare = captioned_grid(images, 3, 3, Captions())
    assert (bare == plain).all()
    assert drawn.shape > plain.shape
    rest = drawn.copy()
    for image in images:
        big = image.repeat(3, axis=0).repeat(3, axis=1)
        corners = np.argwhere((drawn == big[0, 0]).all(axis=2))
        (place,) = [
            (top, left)
            for top, left in corners
            if np.array_equal(drawn[top : top + 96, left : left + 96], big)
        ]
        rest[place[0] : place[0] + 96, place[1] : place[1] + 96] = 255
    assert (rest < 100).any()  # the text, which is beside the images
