"""The figure for a lecture: one picture, one dot, one glow, one sentence."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.errors import SaganError
from sagan.explain.request import ExplainRequest
from sagan.explain.simple import (
    HEIGHT,
    WIDTH,
    _with_picture,
    is_young,
    simple_sentence,
    write_simple,
)


def request(out: Path, **changes: object) -> ExplainRequest:
    options = {"photos": [], "queries": [], "grid": None, "dots": None, "num": 2, "classes": None}
    return ExplainRequest(out, None, **(options | changes), simple=True)  # type: ignore[arg-type]


def rows(targets: np.ndarray, sharpness: float = 0.9) -> np.ndarray:
    """Maps (16, 16) in which row i gives `sharpness` to targets[i], and the rest evenly."""
    attention = np.full((16, 16), (1 - sharpness) / 16)
    attention[np.arange(16), targets] += sharpness
    return attention


def test_a_slide_has_one_picture_with_one_dot_where_it_was_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "slide.png"
    write_simple("openmoji-64", out, request(out, queries=["20,40"], num=None), seed=0)
    with Image.open(out) as image:
        assert image.size == (WIDTH, HEIGHT)
        assert "OpenMoji" in image.text["Copyright"]  # type: ignore[attr-defined]
        pixels = np.array(image).astype(int)
    red = np.abs(pixels[..., :3] - (255, 77, 46)).max(axis=-1) <= 2
    ys, xs = np.nonzero(red)
    # Cell (5, 10) of 16 x 16, in a picture of 896 pixels at (92, 92).
    assert abs(xs.mean() - (92 + 5.5 * 56)) < 1
    assert abs(ys.mean() - (92 + 10.5 * 56)) < 1
    assert xs.max() - xs.min() < 40


def test_in_an_animation_the_dot_moves(tmp_path: Path) -> None:
    out = tmp_path / "slide.webp"
    write_simple("openmoji-64", out, request(out, queries=["4,4", "60,60"], num=None), seed=0)
    with Image.open(out) as film:
        assert film.size == (WIDTH, HEIGHT)
        assert film.n_frames >= 10  # type: ignore[attr-defined]


@pytest.mark.parametrize(("height", "width"), [(1152, 1152), (512, 1536)])
def test_a_picture_that_is_larger_than_its_place_is_reduced_with_its_dot(
    height: int, width: int
) -> None:
    slide, image = (np.zeros((*size, 3), np.uint8) for size in ((HEIGHT, WIDTH), (height, width)))
    keys = 256 * width // height
    frame = _with_picture(slide, image + 200, np.full(keys, 1 / keys), np.array([0.75, 0.5]))
    ys, xs = np.nonzero(frame.any(axis=-1))
    assert (xs.min(), xs.max()) == (92, 92 + 895)
    assert abs(ys.max() - ys.min() + 1 - 896 * height / width) <= 1
    ys, xs = np.nonzero(np.abs(frame.astype(int) - (255, 77, 46)).max(axis=-1) <= 2)
    assert abs(xs.mean() - (92 + 0.75 * 896)) < 1
    assert abs(ys.mean() - HEIGHT / 2) <= 1


def test_young_models_are_called_young() -> None:
    everyone_at_one_place = rows(np.full(16, 3))
    everyone_elsewhere = rows(np.arange(16)[::-1])
    assert is_young(everyone_at_one_place)
    assert not is_young(everyone_elsewhere)
    assert not is_young(np.full((16, 16), 1 / 16))
    size = (8, 8)
    assert simple_sentence(everyone_at_one_place, 0, size) == (
        "Young: most pixels look at one place."
    )
    assert "almost evenly" in simple_sentence(np.full((16, 16), 1 / 16), 0, size)
    assert "half of the attention is on 6.2% of the picture" in simple_sentence(
        everyone_elsewhere, 0, size
    )


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SaganError, match="one dot"):
        request(tmp_path / "a.png", dots=3)
    with pytest.raises(SaganError, match=r"FILE\.gif or FILE\.webp"):
        write_simple("openmoji-64", tmp_path / "a.pdf", request(tmp_path / "a.pdf"), seed=0)
