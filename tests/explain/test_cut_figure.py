"""The figure of samples without attention: its numbers, its panels, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.errors import SaganError
from sagan.explain.cut_figure import LayerCuts, cut_figure
from sagan.explain.cutting import Effect
from sagan.explain.draw import explain_cuts
from sagan.explain.request import ExplainRequest


def layer(**shades: int) -> LayerCuts:
    """Two gray samples of shade 100, whose left half a cut changes to another shade."""

    def effect(shade: int) -> Effect:
        before = np.full((2, 32, 32, 3), 100, dtype=np.uint8)
        after = before.copy()
        after[:, :, :16] = shade
        return Effect(before, after)

    return LayerCuts("generator.attention_16", 0.5, effect(shades["all"]), effect(shades["far"]))


def texts(layers: list[LayerCuts]) -> list[str]:
    return [text.get_text() for text in cut_figure(layers, ["ant", "bee"], "Somebody").texts]


def test_captions_say_how_much_and_how_many_pixels_change() -> None:
    shown = texts([layer(all=140, far=110)])
    assert shown.count("20.0 of 255 on average") == shown.count("50% of the pixels") == 2
    assert shown.count("5.0 of 255 on average") == shown.count("0% of the pixels") == 2  # 10 < 16
    assert {"ant", "bee", "Trained on: Somebody", "generator.attention_16, gamma +0.500"} <= {
        *shown
    }


def test_each_layer_has_a_section_with_five_panels_for_each_sample() -> None:
    one, two = (cut_figure([layer(all=140, far=110)] * num) for num in (1, 2))
    assert len(one.axes) == 2 * 5 + 1
    assert len(two.axes) == 2 * len(one.axes)
    assert two.get_figheight() > 1.8 * one.get_figheight()


def test_a_shipped_models_cuts_are_drawn(tmp_path: Path) -> None:
    explain_cuts("cifar10-32", tmp_path / "cut.png", 1, "ship", seed=3)
    drawn = np.asarray(Image.open(tmp_path / "cut.png").convert("RGB"))
    panel = drawn[90:300, 24:270]  # as drawn
    without = drawn[90:300, 24 + 268 : 270 + 268]
    assert np.abs(panel.astype(int) - without).mean() > 5


@pytest.mark.parametrize(
    "more",
    [{"queries": ["1,1"]}, {"grid": 2}, {"dots": 2}, {"photos": [Path("a.png")]}, {"figure": None}],
)
def test_cuts_have_a_figure_of_samples_and_no_dots(more: dict[str, object], tmp_path: Path) -> None:
    options = {
        "figure": tmp_path / "a.png", "page": tmp_path / "a.html", "photos": [], "queries": [],
        "grid": None, "dots": None, "num": None, "classes": None, "cut": True,
    }  # fmt: skip
    with pytest.raises(SaganError, match="--cut draws samples"):
        ExplainRequest(**(options | more))  # type: ignore[arg-type]
