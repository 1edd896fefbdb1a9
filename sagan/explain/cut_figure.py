"""The figure of what attention does: the same samples with and without it, and the difference.

A figure has a section for each attention layer, and in it a row for each sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sagan.explain.canvas import BLACK, LARGE, LINE, SMALL, Canvas, fitted, wrapped
from sagan.explain.captions import MAX_CREDIT, credit_line
from sagan.explain.cutting import Effect
from sagan.explain.panels import PANEL, color_ramp, draw_image, draw_map
from sagan.figures import figure_style
from sagan.images.rgb import as_rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANGE_MAP = "magma"
LARGEST_CHANGE = 64.0  # of 255: the brightest color, in every figure, so that figures compare
NOTICEABLE = 16.0  # of 255, on average over a pixel's channels
NOTE = (
    "The same latents each time. Without attention: nothing is added to the layer's input. "
    "Nearby only: each position keeps the weights of keys within 1.5 positions, scaled to sum to "
    "1. Brightness: how much a pixel changes, mean over its channels; "
    f"{LARGEST_CHANGE:.0f} of 255 or more is the brightest. A pixel counts as changed from "
    f"{NOTICEABLE:.0f} of 255."
)

_MARGIN, _GAP, _COLUMN_HEAD, _CAPTION, _BAR = 24, 12, 30, 62, 50
_HEADS = ("as drawn", "without attention", "what changes", "nearby only", "what changes")


@dataclass(frozen=True, eq=False)
class LayerCuts:
    """What the cuts in one layer do.

    Attributes:
        name: of the layer, such as "generator.attention_16".
        gamma: the layer's learned factor.
        without: the samples without the layer's attention.
        nearby: the samples with the attention to near keys only.
    """

    name: str
    gamma: float
    without: Effect
    nearby: Effect


def cut_figure(
    layers: Sequence[LayerCuts], titles: Sequence[str] = (), credits: str = ""
) -> Figure:
    """Draw samples, what they are without attention, and with the attention to near keys only.

    Args:
        layers: at least one, all with the same samples.
        titles: text below each sample; none by default.
        credits: lines on who made the training images; the first is printed at the bottom.

    Returns:
        A figure without a window or global state, for `save_figure`.
    """
    num, height, width = layers[0].without.before.shape[:3]
    panel_height = round(PANEL * height / width)
    section = _COLUMN_HEAD + num * (panel_height + _CAPTION) + _BAR
    across = 2 * _MARGIN + len(_HEADS) * (PANEL + _GAP) - _GAP
    with figure_style():
        note = wrapped(NOTE, across - 2 * _MARGIN, SMALL)
        if credits:
            note.append(fitted(credit_line(credits), across - 2 * _MARGIN, SMALL, MAX_CREDIT))
        down = 2 * _MARGIN + len(layers) * (2 * LINE + section) + len(note) * LINE
        canvas, top = Canvas(across, down), _MARGIN
        for layer in layers:
            heading = f"{layer.name}, gamma {layer.gamma:+.3f}"
            canvas.text(_MARGIN, top, heading, size=LARGE, color=BLACK, weight="bold")
            top += 2 * LINE
            _draw_section(canvas, top, panel_height, layer, titles)
            top += section
        canvas.lines(_MARGIN, top, note, size=SMALL)
    return canvas.figure


def _draw_section(
    canvas: Canvas, top: int, panel_height: int, layer: LayerCuts, titles: Sequence[str]
) -> None:
    lefts = [_MARGIN + column * (PANEL + _GAP) for column in range(len(_HEADS))]
    for left, head in zip(lefts, _HEADS, strict=True):
        canvas.text(left, top, head, color=BLACK)
    drawn = as_rgb(layer.without.before)
    for row, image in enumerate(drawn):
        y = top + _COLUMN_HEAD + row * (panel_height + _CAPTION)
        panels = [canvas.axes(left, y, PANEL, panel_height) for left in lefts]
        draw_image(panels[0], image)
        canvas.lines(lefts[0], y + panel_height + 5, [fitted(t, PANEL) for t in titles[row:][:1]])
        for first, effect in ((1, layer.without), (3, layer.nearby)):
            draw_image(panels[first], as_rgb(effect.after)[row])
            change = effect.change()[row]
            draw_map(panels[first + 1], change, LARGEST_CHANGE, CHANGE_MAP)
            changed = (change >= NOTICEABLE).mean()
            caption = [f"{change.mean():.1f} of 255 on average", f"{changed:.0%} of the pixels"]
            canvas.lines(lefts[first + 1], y + panel_height + 5, caption)
    y = top + _COLUMN_HEAD + len(drawn) * (panel_height + _CAPTION)
    bar = canvas.axes(lefts[2], y, PANEL, 14)
    bar.imshow(color_ramp(CHANGE_MAP, PANEL, 14), aspect="auto", interpolation="antialiased")
    canvas.text(lefts[2], y + 18, "no change", size=SMALL)
    canvas.text(lefts[2] + PANEL, y + 18, f"{LARGEST_CHANGE:.0f} or more", size=SMALL, ha="right")
