"""Query points: given by a user, and found in an image."""

import subprocess
import sys

import numpy as np
import pytest

from sagan.errors import SaganError
from sagan.explain import (
    grid_queries,
    interesting_queries,
    parse_query,
    pixel_to_query,
    query_to_pixel,
)

SIDE = 16


def grid(side):
    centers = (np.arange(side) + 0.5) / side
    return np.stack([a.ravel() for a in np.meshgrid(centers, centers)], -1)


def attention_to(targets, key_side, width=0.01):
    """Soft blobs (N, M) around a target (x, y) in [0, 1] for each query."""
    square = ((targets[:, None] - grid(key_side)) ** 2).sum(-1)
    weights = np.exp(-square / width) + 1e-4
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def mirrored(key_side=8):
    return attention_to(grid(SIDE) * [-1, 1] + [1, 0], key_side)


def noise(size=32):
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def flat(size=32):
    return np.full((size, size, 3), 255, dtype=np.uint8)


@pytest.mark.parametrize("num", [1, 3, 6, 256])
@pytest.mark.parametrize("image", [noise(), flat()], ids=["noise", "flat"])
def test_queries_are_distinct_and_inside(image, num):
    queries = interesting_queries(mirrored(), image, num)
    assert len(set(queries)) == num
    assert all(0 <= n < SIDE**2 for n in queries)


def test_the_same_map_and_image_give_the_same_queries():
    first = interesting_queries(mirrored(), noise(), 6)
    assert interesting_queries(mirrored(), noise(), 6) == first
    assert interesting_queries(mirrored(), noise(), 3) == first[:3]


def test_queries_spread_over_the_image():
    points = grid(SIDE)[interesting_queries(mirrored(), noise(), 4)]
    distances = [np.hypot(*(a - b)) for i, a in enumerate(points) for b in points[:i]]
    assert min(distances) > 0.2


def test_points_on_a_wide_image_are_rows_and_columns_of_its_own_grid():
    """8 x 12 positions on 64 x 96 pixels."""
    assert pixel_to_query(95, 0, (64, 96), (8, 12)) == 11
    assert pixel_to_query(0, 63, (64, 96), (8, 12)) == 84
    assert query_to_pixel(84, (64, 96), (8, 12)) == (4.0, 60.0)
    with pytest.raises(SaganError, match="x must be 0 to 95 and y 0 to 63"):
        pixel_to_query(10, 64, (64, 96), (8, 12))
    assert grid_queries((8, 12), 2) == [27, 33, 75, 81]
    attention = np.full((96, 24), 1 / 24)
    attention[40] = 0
    attention[40, 23] = 1
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert interesting_queries(attention, image, 1) == [40]


def test_queries_avoid_flat_background():
    image = flat()
    image[8:24, 8:24] = noise(16)  # cells 4 to 11 in both directions
    for n in interesting_queries(mirrored(), image, 6):
        assert 3 <= n % SIDE <= 12
        assert 3 <= n // SIDE <= 12


def test_an_edge_between_colors_of_one_brightness_is_content():
    image = np.full((32, 32, 3), (200, 0, 0), dtype=np.uint8)
    image[:, 16:] = (0, 59, 0)  # the same luminance, up to rounding
    assert {n % SIDE for n in interesting_queries(mirrored(), image, 4)} <= {7, 8}


def test_a_pixel_that_looks_far_is_preferred_to_pixels_that_look_at_themselves():
    targets = grid(SIDE)  # all but one look at themselves
    targets[5 * SIDE + 4] = (0.9, 0.9)
    assert interesting_queries(attention_to(targets, SIDE), noise(), 1) == [5 * SIDE + 4]


def test_a_selective_pixel_is_preferred_to_unselective_ones():
    attention = np.full((SIDE**2, 64), 1 / 64, dtype=np.float32)
    attention[100] = 0
    attention[100, 0] = 1
    image = np.tile(np.array([[0, 255], [255, 0]], np.uint8).repeat(2, 1), (16, 8))
    image = np.stack([image] * 3, -1)  # equally rich everywhere
    assert interesting_queries(attention, image, 1) == [100]


def test_a_pixel_with_its_own_target_is_preferred_to_pixels_that_share_one():
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    attention = np.full((256, 64), 1e-4)
    attention[:, 63] = 1  # a corner that all attend to
    attention[100, 63], attention[100, 7] = 1e-4, 1  # except one pixel, which attends to another
    attention /= attention.sum(axis=1, keepdims=True)
    assert interesting_queries(attention, image, 1) == [100]


def test_dots_show_different_attention_if_there_is_any():
    image = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    attention = np.full((256, 64), 1e-4)
    targets = np.repeat([0, 7, 56, 63], 64)  # one corner for each quarter of the rows
    attention[np.arange(256), targets] = 1
    attention /= attention.sum(axis=1, keepdims=True)
    queries = interesting_queries(attention, image, 4)
    assert {int(targets[query]) for query in queries} == {0, 7, 56, 63}


def scene(dots):
    """A map and an image in which only these cells, {(row, column): (key, contrast)}, stand out."""
    image = np.full((32, 32, 3), 128, dtype=np.uint8)
    attention = np.full((SIDE**2, 64), 1 / 64)
    for (row, column), (key, contrast) in dots.items():
        image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += np.uint8(contrast)
        attention[row * SIDE + column] = np.eye(64)[key]
    return attention, image


@pytest.mark.parametrize(("contrast", "chosen"), [(22, (10, 10)), (12, (4, 4))])
def test_half_of_the_fastest_change_counts_in_full_and_less_does_not(contrast, chosen):
    """The cell with the fastest change, 40, looks less far than the other one."""
    dots = {(4, 4): (39, 40), (10, 10): (0, contrast)}
    (query,) = interesting_queries(*scene(dots), 1)
    assert divmod(query, SIDE) == chosen


@pytest.mark.parametrize(("column", "second"), [(7, (1, 7)), (5, (13, 13))])
def test_dots_gain_by_being_farther_apart_up_to_a_third_of_the_image(column, second):
    """The dot in the first row has a tenth more score than the one in the far corner."""
    dots = {(1, 1): (63, 40), (1, column): (56, 16), (13, 13): (7, 16)}
    queries = interesting_queries(*scene(dots), 3)
    assert [divmod(query, SIDE) for query in queries[:2]] == [(1, 1), second]
    assert {divmod(query, SIDE) for query in queries} == set(dots)


def test_a_pixel_that_attends_to_everything_scores_next_to_nothing():
    """Less than one that attends to its neighborhood, where colors change a fifth as fast."""
    attention, image = scene({(4, 4): (9, 8)})
    image[20:22, 20:22] += np.uint8(40)
    assert interesting_queries(attention, image, 1) == [4 * SIDE + 4]


def test_a_corner_has_no_advantage_in_looking_far():
    """It is far from most of the image: three times as far on average as the middle."""
    attention, image = scene({(0, 0): (27, 40), (7, 7): (39, 40)})
    near_middle, edge = np.hypot(*(grid(8)[[27, 39]] - grid(SIDE)[[0, 7 * SIDE + 7]]).T)
    assert near_middle > edge
    assert interesting_queries(attention, image, 1) == [7 * SIDE + 7]


def test_noise_on_uniform_attention_does_not_decide_the_dots():
    image = flat()
    image[4:12, 20:28] = noise(8)
    jitter = np.random.default_rng(1).normal(1, 1e-4, (SIDE**2, 64))
    attention = jitter / jitter.sum(-1, keepdims=True)
    (n,) = interesting_queries(attention, image, 1)
    x, y = query_to_pixel(n, 32, SIDE)
    assert 19 <= x <= 29
    assert 3 <= y <= 13


@pytest.mark.parametrize(("side", "num"), [(16, 1), (16, 2), (16, 3), (16, 16), (8, 5), (4, 3)])
def test_a_grid_is_spread_evenly_over_the_image(side, num):
    queries = grid_queries(side, num)
    assert len(set(queries)) == num**2
    places = [query_to_pixel(query, 1, side) for query in queries]
    for index, place in enumerate(places):
        wanted = ((index % num + 0.5) / num, (index // num + 0.5) / num)
        assert abs(np.array(place) - wanted).max() <= 0.5 / side + 1e-9


@pytest.mark.parametrize("num", [0, 9])
def test_a_grid_finer_than_the_layer_is_the_users_error(num):
    with pytest.raises(SaganError, match="8 x 8 positions"):
        grid_queries(8, num)


def test_a_feature_map_of_one_pixel_has_one_query():
    assert interesting_queries(np.ones((1, 1)), noise(), 1) == [0]


@pytest.mark.parametrize("num", [0, 257])
def test_an_impossible_number_of_queries_is_refused(num):
    with pytest.raises(ValueError, match=r"1 \.\. 256"):
        interesting_queries(mirrored(), noise(), num)


@pytest.mark.parametrize(
    "image", [noise(24), noise()[:16], noise().astype(float), noise()[..., :1]]
)
def test_an_image_that_does_not_fit_the_map_is_refused(image):
    with pytest.raises(ValueError, match=r"multiple of 16|do not form a grid"):
        interesting_queries(mirrored(), image, 1)


@pytest.mark.parametrize(
    ("text", "pixel"), [("12,20", (12, 20)), (" 0 , 7 ", (0, 7)), ("-1,5", (-1, 5))]
)
def test_a_query_is_two_whole_numbers(text, pixel):
    assert parse_query(text) == pixel


@pytest.mark.parametrize(
    "text", ["", "12", "12,", "1,2,3", "a,b", "1.5,2", "1;2", "9" * 5000 + ",1", "1,\n\n2x", "٣,٤"]
)
def test_the_error_for_bad_text_is_one_line_with_an_example(text):
    with pytest.raises(SaganError, match="12,20") as error:
        parse_query(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_pixel_belongs_to_the_cell_that_covers_it():
    for y in range(32):
        for x in range(32):
            n = pixel_to_query(x, y, 32, SIDE)
            center_x, center_y = query_to_pixel(n, 32, SIDE)
            # the pixel's center is less than half a cell of two pixels away
            assert abs(x + 0.5 - center_x) < 1
            assert abs(y + 0.5 - center_y) < 1
    assert pixel_to_query(31, 0, 32, SIDE) == 15
    assert pixel_to_query(0, 31, 32, SIDE) == 240


@pytest.mark.parametrize("pixel", [(-1, 0), (0, -1), (32, 0), (0, 32)])
def test_a_pixel_outside_the_image_is_the_users_error(pixel):
    with pytest.raises(SaganError, match="0 to 31"):
        pixel_to_query(*pixel, 32, SIDE)


def test_a_query_outside_the_grid_is_refused():
    for query in (256, -1):
        with pytest.raises(ValueError, match="outside"):
            query_to_pixel(query, 32, SIDE)
    with pytest.raises(ValueError, match="image of 0 pixels"):
        pixel_to_query(0, 0, 0, SIDE)
    with pytest.raises(ValueError, match="grid of side 0"):
        pixel_to_query(0, 0, 32, 0)


def test_importing_explain_imports_neither_torch_nor_matplotlib():
    code = "import sys, sagan.explain; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
