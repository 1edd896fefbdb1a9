"""Gray and transparent images as RGB."""

import numpy as np

from sagan.images.rgb import as_rgb, to_pillow


def test_rgb_stays_itself_and_gray_is_repeated() -> None:
    rgb = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    assert as_rgb(rgb) is rgb
    gray = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    assert as_rgb(gray).tolist() == [[[0] * 3, [1] * 3], [[2] * 3, [3] * 3]]


def test_rgba_is_laid_over_white_to_the_nearest_byte() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 4), dtype=np.uint8)
    opacity = rgba[..., 3:] / 255
    expected = np.rint(rgba[..., :3] * opacity + 255 * (1 - opacity))
    assert np.array_equal(as_rgb(rgba), expected)


def test_pillow_gets_the_images_own_channels() -> None:
    for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        image = to_pillow(np.zeros((4, 6, channels), np.uint8))
        assert (image.mode, image.size) == (mode, (6, 4))
