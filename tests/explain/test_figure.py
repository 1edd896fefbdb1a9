"""The attention figure, checked by its pixels."""

# ruff: noqa: RUF001 -- the multiplication and minus signs in captions are intended

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from sagan.errors import SaganError
from sagan.explain import (
    LayerView,
    attention_beyond,
    attention_distance,
    attention_entropy,
    attention_figure,
    convolution_window,
    grid_queries,
    query_to_pixel,
    receptive_field,
    save_figure,
)
from sagan.explain.draw import given_dots, interesting_dots
from sagan.explain.figure import QUERY_COLORS

SIDE = 16


def gray_images(num=1, size=32):
    return np.full((num, size, size, 3), 128, dtype=np.uint8)


def blob_attention(num=1, key_side=8, center=(0.8, 0.25), width=0.01):
    """All queries attend to a blob around a place, (x, y) in [0, 1]."""
    cells = (np.arange(key_side) + 0.5) / key_side
    x, y = np.meshgrid(cells, cells)
    weights = np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / width).ravel() + 1e-4
    row = (weights / weights.sum()).astype(np.float32)
    return np.broadcast_to(row, (num, SIDE**2, key_side**2))


def layer(attention, queries, name="generator.attention_16", gamma=0.1):
    """A layer for a figure; its name decides the convolutions' field."""
    field = receptive_field("residual", name, 32)
    return LayerView(name, attention, queries, gamma, field)


def draw(attention, queries, images=None, titles=(), **named):
    images = gray_images(len(attention)) if images is None else images
    return attention_figure(images, [layer(attention, queries, **named)], titles)


def uniform_attention():
    return np.full((1, SIDE**2, 64), 1 / 64, dtype=np.float32)


def panels(figure):
    """Rendered pixels, (H, W, 3) uint8, of each square in the figure, in drawing order."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    boxes = [axes.get_window_extent() for axes in squares(figure)]
    height = pixels.shape[0]
    return [
        pixels[round(height - box.y1) : round(height - box.y0), round(box.x0) : round(box.x1)]
        for box in boxes
    ]


def squares(figure):
    """The axes of images, dots' panels and maps, row by row; not the color bars."""
    boxes = [(axes, axes.get_window_extent()) for axes in figure.axes]
    return [axes for axes, box in boxes if abs(box.width - box.height) < 1]


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts)


def shown(figure, panel):
    """The image given to a panel, without dots and outlines, (H, W, 3)."""
    return np.asarray(squares(figure)[panel].images[0].get_array())


def fields(figure, panel):
    """(left, top, right, bottom) in image pixels and line style of the squares in a panel."""
    rectangles = [patch for patch in squares(figure)[panel].patches if patch.get_zorder() == 1.4]
    return [
        (
            *(32 * np.array([r.get_x(), r.get_y()])),
            *(32 * np.array([r.get_x() + r.get_width(), r.get_y() + r.get_height()])),
            r.get_linestyle(),
        )
        for r in rectangles[1::2]  # each drawn twice, black below white
    ]


@pytest.mark.parametrize("query", [0, 15, 100, 255])
def test_the_dot_lies_on_the_center_of_its_query(query):
    for panel in panels(draw(blob_attention(), [[query]]))[:2]:
        x, y = query_to_pixel(query, panel.shape[0], SIDE)
        np.testing.assert_array_equal(panel[int(y), int(x)], [232, 19, 43])
        rows, columns = np.nonzero((panel == [232, 19, 43]).all(-1))
        near = (abs(rows - y) < 8) & (abs(columns - x) < 8)
        assert near.sum() > 25
        assert abs(rows[near].mean() + 0.5 - y) < 1
        assert abs(columns[near].mean() + 0.5 - x) < 1


def test_dots_have_their_own_colors_in_order():
    queries = [17, 40, 100, 135, 200, 240]
    picture, *attended, _, _ = panels(draw(blob_attention(), [queries]))
    for query, color, panel in zip(queries, QUERY_COLORS, attended, strict=True):
        x, y = (int(c) for c in query_to_pixel(query, panel.shape[0], SIDE))
        expected = np.rint(255 * np.array(to_rgb(color)))
        np.testing.assert_array_equal(picture[y, x], expected)
        np.testing.assert_array_equal(panel[y, x], expected)


@pytest.mark.parametrize("key_side", [8, 16])
def test_a_far_blob_lights_up_and_the_rest_does_not(key_side):
    attention = blob_attention(key_side=key_side, center=(0.8, 0.25))
    panel = shown(draw(attention, [[200]]), 1).astype(float)
    brightness = panel.sum(-1)
    rows, columns = np.nonzero(brightness == brightness.max())
    assert abs((columns.mean() + 0.5) / panel.shape[1] - 0.8) < 1 / key_side
    assert abs((rows.mean() + 0.5) / panel.shape[0] - 0.25) < 1 / key_side
    far_away = brightness[panel.shape[0] // 2 :, : panel.shape[1] // 2]
    assert brightness.max() > 1.8 * far_away.max()


def test_each_dot_lights_up_what_it_attends_to_and_nothing_else():
    """Query (row i, column j) attends to a single key, (7 - i / 2, j / 4)."""
    attention = np.zeros((1, SIDE**2, 64), dtype=np.float32)
    rows, columns = np.divmod(np.arange(SIDE**2), SIDE)
    keys = np.stack([7 - rows // 2, columns // 4], axis=1)  # (N, 2): row, column of 8 x 8
    attention[0, np.arange(SIDE**2), 8 * keys[:, 0] + keys[:, 1]] = 1
    queries = [2 * SIDE + 9, 13 * SIDE + 4]
    figure = draw(attention, [queries])
    for panel, query in enumerate(queries, start=1):
        brightness = shown(figure, panel).astype(float).sum(-1)
        side = brightness.shape[0]
        lit = np.argwhere(brightness == brightness.max()).mean(axis=0) + 0.5
        np.testing.assert_allclose(lit / side * 8, keys[query] + 0.5, atol=0.3)
        outlines = [
            path for drawn in squares(figure)[panel].collections for path in drawn.get_paths()
        ]
        corners = np.concatenate([path.vertices for path in outlines]) * 8  # in keys, (x, y)
        row, column = keys[query]
        np.testing.assert_allclose(corners.min(axis=0), (column, row), atol=0.1)
        np.testing.assert_allclose(corners.max(axis=0), (column + 1, row + 1), atol=0.1)


@pytest.mark.parametrize(("point", "query"), [("20,3", SIDE + 10), ("3,20", 10 * SIDE + 1)])
def test_a_given_point_is_x_then_y(point, query):
    choose = given_dots([point])
    assert choose(uniform_attention()[0], gray_images()[0]) == [query]


def test_a_layer_with_fewer_positions_than_dots_has_a_dot_at_each():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert sorted(interesting_dots(6)(np.full((4, 4), 1 / 4), image)) == [0, 1, 2, 3]


def test_uniform_attention_leaves_the_image_dark_and_the_caption_says_so():
    figure = draw(uniform_attention(), [[100]])
    assert len(np.unique(shown(figure, 1))) == 1
    assert not squares(figure)[1].collections  # no outline
    assert "nearly uniform" in texts(figure)


def test_the_captions_give_each_dots_and_each_maps_numbers():
    attention = np.zeros((1, SIDE**2, 64), dtype=np.float32)
    attention[..., :8] = 1 / 8  # half in four of 64 keys
    figure = draw(attention, [[100]], gamma=-0.25)
    text = texts(figure)
    assert "half on 6.2%" in text
    assert "100% beyond 3×3" in text
    assert f"mean {attention_distance(attention, 32).mean():.1f} px" in text
    assert f"mean {np.log(8):.2f} nats" in text
    assert "generator.attention_16" in text
    assert "8 × 8 keys" in text
    assert "gamma −0.250" in text
    beyond = attention_beyond(attention, convolution_window(SIDE, 32), 32).mean()
    assert f"{100 * beyond:.0f}% of it to keys beyond" in text
    # A window of 6 pixels touches at most 2 x 2 keys of 4 pixels; a plain loop over all positions:
    windows = [range(max(0, 2 * i - 2), min(32, 2 * i + 4)) for i in range(SIDE)]
    touched = [len({pixel // 4 for pixel in window}) for window in windows]
    uniform = np.mean([1 - a * b / 64 for a in touched for b in touched])
    assert f"(uniform attention: {100 * uniform:.0f}%)" in text


def test_heat_compares_between_panels():
    sharp, soft = blob_attention(width=0.005), blob_attention(width=0.05)
    figure = draw(np.concatenate([sharp, soft]), [[200], [200]])
    assert shown(figure, 1).sum(-1).max() > shown(figure, 5).sum(-1).max()


def test_the_maps_show_every_pixels_distance_and_entropy():
    attention = np.zeros((1, SIDE**2, 64), dtype=np.float32)
    attention[:, :128, 0] = 1  # the upper half attends to one corner
    attention[:, 128:] = 1 / 64  # the lower half to everything
    figure = draw(attention, [[100]])
    distance, entropy = (shown(figure, i)[8::16, 8::16].reshape(256, 3) for i in (2, 3))
    # Colors follow a scale: equal values look the same, different ones do not.
    for values, colors in (
        (attention_distance(attention, 32)[0], distance),
        (attention_entropy(attention)[0], entropy),
    ):
        order = np.argsort(values, kind="stable")
        steps = np.abs(np.diff(colors[order].astype(int), axis=0)).sum(-1)
        assert (steps[np.diff(values[order]) == 0] == 0).all()
        assert steps.sum() > 100
    assert len(np.unique(entropy, axis=0)) == 2


def test_the_square_of_a_convolution_surrounds_the_dot():
    figure = draw(blob_attention(), [[5 * SIDE + 8]])
    assert fields(figure, 1) == [(14, 8, 20, 14, "solid")]


def test_a_discriminators_convolutions_see_further_in_the_image():
    figure = draw(blob_attention(), [[5 * SIDE + 8]], name="discriminator.attention_16")
    assert fields(figure, 1) == [(14, 8, 20, 14, "solid"), (12, 6, 22, 16, "dashed")]
    assert "squares of 6 to 10 px in the image" in texts(figure)


def test_a_generators_field_is_counted_in_blocks_of_its_start():
    assert "2 to 4 of the generator's 4 starting blocks" in texts(draw(blob_attention(), [[0]]))


def test_pixels_of_a_small_image_stay_crisp():
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    panel = panels(draw(blob_attention(), [[255]], image))[0]
    assert panel.shape[:2] == (256, 256)
    blocks = panel.reshape(32, 8, 32, 8, 3)[1:-3, :, 1:-3]  # without the frame and the dot
    np.testing.assert_array_equal(blocks[:, 4, :, 4], image[0, 1:-3, 1:-3])
    assert (blocks == blocks[:, :1, :, :1]).all()


@pytest.mark.parametrize(("rows", "dots"), [(1, 1), (1, 6), (2, 2), (12, 4), (2, 9), (1, 64)])
def test_text_stays_inside_the_figure_and_overlaps_nothing(rows, dots):
    queries = [list(range(20, 20 + dots))] * rows
    titles = ["W" * 300, "a class of many words " * 20, "$x^2$", *"abcdefghi"][:rows]
    names = ("generator.attention_16", "discriminator.attention_16")[: 1 if rows > 2 else 2]
    layers = [layer(blob_attention(rows), queries, name) for name in names]
    figure = attention_figure(gray_images(rows), layers, titles)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts]
    width, height = figure.canvas.get_width_height()
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y0 >= 0
        assert box.y1 <= height
    for a, b in itertools.combinations(boxes, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, down) < 2
    panels = [axes.get_window_extent() for axes in figure.axes]
    for box, panel in itertools.product(boxes, panels):
        across = min(box.x1, panel.x1) - max(box.x0, panel.x0)
        down = min(box.y1, panel.y1) - max(box.y0, panel.y0)
        assert min(across, down) < 2


def test_every_layer_has_its_own_section():
    coarse = np.full((1, 64, 16), 1 / 16, dtype=np.float32)
    layers = [
        layer(coarse, [[1, 2]], "generator.attention_8"),
        layer(blob_attention(), [[1, 2, 3]]),
    ]
    figure = attention_figure(gray_images(), layers)
    assert len(squares(figure)) == (1 + 2 + 2) + (1 + 3 + 2)
    assert "generator.attention_8" in texts(figure)
    assert "generator.attention_16" in texts(figure)


def test_the_panels_of_many_dots_form_a_grid():
    queries = grid_queries(SIDE, 4)
    figure = draw(blob_attention(), [queries])
    boxes = [axes.get_window_extent() for axes in squares(figure)]
    dots = [box for box in boxes if box.x0 > min(b.x0 for b in boxes) + 1]
    assert len({round(box.x0) for box in dots}) == 4
    assert len({round(box.y0) for box in dots}) == 4
    assert len(boxes) == 1 + 16 + 2


def test_titles_may_be_any_text(tmp_path: Path):
    printed = {
        "$x^2$ _{a}": "$x^2$ _{a}",
        "two\nlines": "two\N{REPLACEMENT CHARACTER}lines",
        "\N{CJK UNIFIED IDEOGRAPH-732B}": "\N{REPLACEMENT CHARACTER}",
        "\ud800": "\N{REPLACEMENT CHARACTER}",
        "\N{RIGHT-TO-LEFT OVERRIDE}x": "\N{REPLACEMENT CHARACTER}x",
        "": "",
        "Fähre": "Fähre",
    }
    num = len(printed)
    figure = draw(blob_attention(num), [[1]] * num, titles=list(printed))
    texts = [text.get_text() for text in figure.texts]
    assert [text for text in texts if text in printed.values()] == list(printed.values())
    for kind in ("png", "svg", "pdf"):
        save_figure(figure, tmp_path / f"a.{kind}")


def test_a_long_title_is_cut_to_fit():
    figure = draw(blob_attention(), [[1]], titles=["class " * 1000])
    (title,) = [text for text in figure.texts if text.get_text().startswith("class")]
    figure.canvas.draw()
    assert title.get_text().endswith("…")
    assert 200 < title.get_window_extent().width <= 256


@pytest.mark.parametrize("size", [16, 48, 300])
def test_images_of_any_size_fill_their_panel(size):
    figure = draw(blob_attention(), [[1]], gray_images(1, size))
    assert all(panel.shape == (256, 256, 3) for panel in panels(figure))


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
COLOR_VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def cielab(linear_rgb):
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(to_xyz @ linear_rgb / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", COLOR_VISION)
def test_color_blind_readers_can_tell_the_dots_apart(vision):
    linear = [((np.array(to_rgb(c)) + 0.055) / 1.055) ** 2.4 for c in QUERY_COLORS]
    seen = [cielab(np.clip(COLOR_VISION[vision] @ c, 0, 1)) for c in linear]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"images": gray_images()[0]}, "shape"),
        ({"images": gray_images()[:, :16]}, "sides as 1 to 2"),
        ({"images": gray_images().astype(float)}, "uint8"),
        ({"images": gray_images(2)}, "do not belong to 2 images"),
        ({"attention": np.full((1, 15, 16), 1 / 16)}, "square"),
        ({"attention": np.ones((1, 256, 16))}, "sum to 1"),
        ({"queries": [[]]}, "1 to 64"),
        ({"queries": [list(range(65))]}, "1 to 64"),
        ({"queries": [[256]]}, "255"),
        ({"queries": [[-1]]}, "255"),
        ({"titles": ["a", "b"]}, "a title for each image"),
    ],
)
def test_shapes_and_values_that_do_not_fit_are_refused(arguments, reason):
    fitting = {"images": gray_images(), "attention": blob_attention(), "queries": [[1]]}
    with pytest.raises(ValueError, match=reason):
        draw(**(fitting | arguments))


def test_a_figure_without_layers_is_refused():
    with pytest.raises(ValueError, match="0 layers"):
        attention_figure(gray_images(), [])


def test_the_field_of_another_map_is_refused():
    wrong = dataclasses.replace(layer(blob_attention(), [[1]]), field=np.zeros((8, 2), np.int64))
    with pytest.raises(ValueError, match="field"):
        attention_figure(gray_images(), [wrong])


def test_images_with_different_numbers_of_dots_are_refused():
    with pytest.raises(ValueError, match="as many as the others"):
        draw(blob_attention(2), [[1], [1, 2]])


@pytest.fixture(scope="module")
def figure():
    return draw(blob_attention(), [[1]], titles=["a ship"])


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_the_extension_decides_the_format(figure, tmp_path: Path, name, start):
    save_figure(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, kind):
    for name in "ab":
        again = draw(blob_attention(), [[1]], titles=["a ship"])
        save_figure(again, tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_a_png_has_the_figures_size_in_pixels(figure, tmp_path: Path):
    save_figure(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == figure.canvas.get_width_height()


def test_text_stays_text_in_svg(figure, tmp_path: Path):
    save_figure(figure, tmp_path / "a.svg")
    root = ElementTree.fromstring((tmp_path / "a.svg").read_bytes())
    written = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(written) == sorted(text.get_text() for text in figure.texts)


def test_fonts_in_pdf_are_truetype(figure, tmp_path: Path):
    save_figure(figure, tmp_path / "a.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    assert b"/Type3" not in content
    assert b"/FontFile2" in content


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.txt"])
def test_an_unknown_extension_is_the_users_error(figure, tmp_path: Path, name):
    with pytest.raises(SaganError, match=r"\.png, \.svg or \.pdf"):
        save_figure(figure, tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_an_unwritable_path_is_the_users_error(figure, tmp_path: Path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(SaganError, match="cannot write") as error:
            save_figure(figure, path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_drawing_leaves_matplotlibs_global_state_alone(tmp_path: Path):
    code = """
import sys, io, matplotlib, numpy as np
matplotlib.rcParams["text.usetex"] = True  # a user's setting that most class names would break
before = matplotlib.rcParams.copy()
from sagan.explain import LayerView, attention_figure, receptive_field, save_figure
attention = np.full((1, 64, 16), 1 / 16)
field = receptive_field("residual", "generator.attention_8", 32)
layer = LayerView("generator.attention_8", attention, [[3]], 0.0, field)
save_figure(attention_figure(np.zeros((1, 32, 32, 3), np.uint8), [layer], ["$"]), sys.argv[1])
sys.exit("matplotlib.pyplot" in sys.modules or matplotlib.rcParams.copy() != before)
"""
    arguments = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    assert subprocess.run(arguments, check=False).returncode == 0
