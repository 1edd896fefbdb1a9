"""The attention figure, judged by its pixels."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from sagan.errors import SaganError
from sagan.explain import attention_figure, query_to_pixel, save_figure
from sagan.explain.figure import QUERY_COLOURS

SIDE = 16


def grey_images(num=1, size=32):
    return np.full((num, size, size, 3), 128, dtype=np.uint8)


def blob_attention(num=1, key_side=8, centre=(0.8, 0.25), width=0.01):
    """All queries attend to a blob around one place, (x, y) in [0, 1]."""
    cells = (np.arange(key_side) + 0.5) / key_side
    x, y = np.meshgrid(cells, cells)
    weights = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / width).ravel() + 1e-4
    row = (weights / weights.sum()).astype(np.float32)
    return np.broadcast_to(row, (num, SIDE**2, key_side**2))


def uniform_attention():
    return np.full((1, SIDE**2, 64), 1 / 64, dtype=np.float32)


def panels(figure):
    """Rendered pixels, (H, W, 3) uint8, of each picture in the figure, in drawing order."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    boxes = [axes.get_window_extent() for axes in figure.axes[:-1]]  # the last is the colour bar
    height = pixels.shape[0]
    return [
        pixels[round(height - box.y1) : round(height - box.y0), round(box.x0) : round(box.x1)]
        for box in boxes
    ]


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts)


def shown(figure, panel):
    """The picture given to a panel, before dots and outlines, (H, W, 3)."""
    return np.asarray(figure.axes[panel].images[0].get_array())


@pytest.mark.parametrize("query", [0, 15, 100, 255])
def test_the_dot_lies_on_the_centre_of_its_query(query):
    figure = attention_figure(grey_images(), blob_attention(), [[query]], "generator.attention_16")
    for panel in panels(figure):
        x, y = query_to_pixel(query, panel.shape[0], SIDE)
        np.testing.assert_array_equal(panel[int(y), int(x)], [232, 19, 43])
        rows, columns = np.nonzero((panel == [232, 19, 43]).all(-1))
        near = (abs(rows - y) < 8) & (abs(columns - x) < 8)
        assert near.sum() > 50
        assert abs(rows[near].mean() + 0.5 - y) < 1
        assert abs(columns[near].mean() + 0.5 - x) < 1


def test_dots_have_their_own_colours_in_order():
    queries = [17, 40, 100, 135, 200, 240]
    figure = attention_figure(grey_images(), blob_attention(), [queries], "layer")
    picture, *attended = panels(figure)
    for query, colour, panel in zip(queries, QUERY_COLOURS, attended, strict=True):
        x, y = (int(c) for c in query_to_pixel(query, panel.shape[0], SIDE))
        expected = np.rint(255 * np.array(to_rgb(colour)))
        np.testing.assert_array_equal(picture[y, x], expected)
        np.testing.assert_array_equal(panel[y, x], expected)


@pytest.mark.parametrize("key_side", [8, 16])
def test_a_far_blob_lights_up_and_the_rest_does_not(key_side):
    attention = blob_attention(key_side=key_side, centre=(0.8, 0.25))
    figure = attention_figure(grey_images(), attention, [[200]], "layer")
    panel = shown(figure, 1).astype(float)
    brightness = panel.sum(-1)
    y, x = np.unravel_index(brightness.argmax(), brightness.shape)
    assert abs(x / panel.shape[1] - 0.8) < 1 / key_side
    assert abs(y / panel.shape[0] - 0.25) < 1 / key_side
    far_away = brightness[panel.shape[0] // 2 :, : panel.shape[1] // 2]
    assert brightness.max() > 1.8 * far_away.max()


def test_uniform_attention_leaves_the_picture_dark_and_says_so():
    figure = attention_figure(grey_images(), uniform_attention(), [[100]], "layer")
    assert len(np.unique(shown(figure, 1))) == 1
    assert not figure.axes[1].collections  # no outline
    assert "nearly uniform: half in 50 %" in texts(figure)


def test_the_caption_gives_the_share_that_holds_half_of_the_attention():
    attention = np.zeros((1, SIDE**2, 64), dtype=np.float32)
    attention[..., :8] = 1 / 8  # half in four of 64 keys, each 8 times uniform
    figure = attention_figure(grey_images(), attention, [[100]], "discriminator.attention_16")
    text = texts(figure)
    assert "half in 6.2 %" in text
    assert "peak 8×" in text  # noqa: RUF001
    assert "discriminator.attention_16" in text
    assert "8 × 8 keys" in text  # noqa: RUF001
    assert "bilinear" in text


def test_one_peak_for_all_panels_makes_them_comparable():
    sharp, soft = blob_attention(width=0.005), blob_attention(width=0.05)
    attention = np.concatenate([sharp, soft])
    own = attention_figure(grey_images(2), attention, [[200], [200]], "layer")
    same = attention_figure(grey_images(2), attention, [[200], [200]], "layer", peak=64)
    brightest = [shown(own, panel).max((0, 1)) for panel in (1, 3)]
    np.testing.assert_allclose(*brightest, atol=10)  # up to the interpolation between keys
    assert shown(same, 1).sum(-1).max() > shown(same, 3).sum(-1).max()
    assert "in all panels alike" in texts(same)


def test_pixels_of_a_small_picture_stay_crisp():
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    figure = attention_figure(image, blob_attention(), [[255]], "layer")
    picture = panels(figure)[0]
    assert picture.shape[:2] == (256, 256)
    blocks = picture.reshape(32, 8, 32, 8, 3)[1:-3, :, 1:-3]  # not the frame, nor the dot
    np.testing.assert_array_equal(blocks[:, 4, :, 4], image[0, 1:-3, 1:-3])
    assert (blocks == blocks[:, :1, :, :1]).all()


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 6), (2, 2), (8, 3)])
def test_all_text_stays_inside_the_figure_and_off_other_text(rows, columns):
    queries = [list(range(20, 20 + columns))] * rows
    figure = attention_figure(
        grey_images(rows), blob_attention(rows), queries, "discriminator.attention_128"
    )
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


def test_images_may_have_different_numbers_of_queries():
    figure = attention_figure(grey_images(2), blob_attention(2), [[1], [1, 2, 3]], "layer")
    assert len(figure.axes) == 2 + 4 + 1


@pytest.mark.parametrize("size", [16, 48, 300])
def test_pictures_of_any_size_fill_their_panel(size):
    figure = attention_figure(grey_images(1, size), blob_attention(), [[1]], "layer")
    assert all(panel.shape == (256, 256, 3) for panel in panels(figure))


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
COLOUR_VISION = {
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


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_dot_colours_stay_apart_for_colour_blind_readers(vision):
    linear = [((np.array(to_rgb(c)) + 0.055) / 1.055) ** 2.4 for c in QUERY_COLOURS]
    seen = [cielab(np.clip(COLOUR_VISION[vision] @ c, 0, 1)) for c in linear]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"images": grey_images()[0]}, "shape"),
        ({"images": grey_images()[:, :16]}, "H = W"),
        ({"images": grey_images().astype(float)}, "uint8"),
        ({"images": grey_images(2)}, "same number"),
        ({"attention": np.full((1, 15, 16), 1 / 16)}, "square"),
        ({"attention": np.ones((1, 16, 16))}, "sum to 1"),
        ({"queries": [[]]}, "1 to 6"),
        ({"queries": [list(range(7))]}, "1 to 6"),
        ({"queries": [[256]]}, "255"),
        ({"queries": [[-1]]}, "255"),
        ({"peak": 1.0}, "peak"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, reason):
    fitting = {
        "images": grey_images(),
        "attention": blob_attention(),
        "queries": [[1]],
        "layer": "layer",
    }
    with pytest.raises(ValueError, match=reason):
        attention_figure(**(fitting | arguments))


@pytest.fixture(scope="module")
def figure():
    return attention_figure(grey_images(), blob_attention(), [[1]], "layer")


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_the_extension_chooses_the_format(figure, tmp_path: Path, name, start):
    save_figure(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_png_has_the_figures_own_pixels_every_time(figure, tmp_path: Path):
    save_figure(figure, tmp_path / "a.png")
    save_figure(figure, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == figure.canvas.get_width_height()


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.txt"])
def test_an_unknown_extension_is_the_users_error(figure, tmp_path: Path, name):
    with pytest.raises(SaganError, match=r"\.png, \.svg or \.pdf"):
        save_figure(figure, tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_an_unwritable_path_is_the_users_error(figure, tmp_path: Path):
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "missing" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(SaganError, match="cannot write") as error:
            save_figure(figure, path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_drawing_leaves_matplotlibs_global_state_alone():
    code = """
import sys, matplotlib, numpy as np
before = matplotlib.rcParams.copy()
from sagan.explain import attention_figure
attention_figure(np.zeros((1, 8, 8, 3), np.uint8), np.full((1, 16, 4), .25), [[3]], "layer")
sys.exit("matplotlib.pyplot" in sys.modules or matplotlib.rcParams.copy() != before)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
