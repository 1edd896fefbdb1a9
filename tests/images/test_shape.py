"""Shapes of images, and how settings write them."""

import numpy as np
import pytest

from sagan.images.shape import ImageShape


@pytest.mark.parametrize(
    ("resolution", "colors", "shape", "text"),
    [
        (64, "rgb", (64, 64, 3), "64 x 64"),
        ("96x64", "gray", (64, 96, 1), "96 x 64 gray"),
        ("48x64", "rgba", (64, 48, 4), "48 x 64 rgba"),
    ],
)
def test_a_shape_is_that_of_an_array_and_can_be_written_again(
    resolution: int | str, colors: str, shape: tuple[int, int, int], text: str
) -> None:
    found = ImageShape.of(resolution, colors)
    assert found == shape == np.zeros(shape).shape
    assert (found.resolution, found.colors, str(found)) == (resolution, colors, text)


def test_a_square_has_one_spelling() -> None:
    assert ImageShape.of("64x64") == ImageShape.of("64") == ImageShape.of(64)
    assert ImageShape.of("64x64").resolution == 64


@pytest.mark.parametrize("resolution", [0, -64, 64.0, True, "6 x 6", "64x", "064", "x64", "9" * 9])
def test_what_is_not_a_size_is_a_value_error(resolution: int | str) -> None:
    with pytest.raises(ValueError, match="is not a size in pixels such as 64 or 96x64"):
        ImageShape.of(resolution)


def test_unknown_colors_are_a_value_error_that_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown colors 'cmyk': choose from gray, rgb, rgba"):
        ImageShape.of(64, "cmyk")


def test_feature_maps_have_the_images_proportions() -> None:
    assert ImageShape(64, 96).feature_map(16) == (16, 24)
    assert ImageShape(96, 64).feature_map(16) == (24, 16)
    assert ImageShape(96, 64).side == 64
