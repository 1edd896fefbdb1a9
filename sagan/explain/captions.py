"""The words and numbers of an attention figure."""

# ruff: noqa: RUF001 -- captions mean the multiplication and minus signs that they use

import numpy as np

from sagan.explain.overlay import NEARLY_UNIFORM
from sagan.explain.receptive import START, convolution_window
from sagan.explain.statistics import (
    attention_beyond,
    attention_distance,
    concentration,
    grid_sides,
    uniform_distance,
)
from sagan.explain.view import LayerView


def dot_caption(half: float, beyond: float) -> list[str]:
    """What one query's panel says, in lines that fit below it."""
    first = "nearly uniform" if half > NEARLY_UNIFORM else f"half in {_percent(half)}"
    return [first, f"{_percent(beyond)} beyond 3×3"]


def layer_summary(layer: LayerView, size: int) -> str:
    """The layer in numbers: means over the images and all their queries."""
    attention = layer.attention
    query_side, key_side = grid_sides(attention)
    distance = attention_distance(attention, size).mean()
    uniform = uniform_distance(query_side, key_side, size).mean()
    window = convolution_window(query_side, size)
    beyond = attention_beyond(attention, window, size).mean()
    alike = np.broadcast_to(np.float32(1 / key_side**2), (1, *attention.shape[1:]))
    beyond_uniform = attention_beyond(alike, window, size).mean()
    half = concentration(attention).mean()
    gamma = f"{layer.gamma:+.3f}".replace("-", "−")
    return (
        f"{query_side} × {query_side} positions attend to {key_side} × {key_side} keys; "
        f"gamma {gamma}. On average a position looks {distance:.1f} px away (uniform "
        f"attention: {uniform:.1f} px), half of its attention lies in {_percent(half)} of the "
        f"keys, and {_percent(beyond)} goes beyond the 3 × 3 positions that a convolution here "
        f"would read (uniform attention: {_percent(beyond_uniform)}). {_field(layer, size)}"
    )


def _field(layer: LayerView, size: int) -> str:
    """How far convolutions alone see."""
    widths = layer.field[:, 1] - layer.field[:, 0]
    if layer.sees_picture:
        seen = f"squares of the picture, {widths.min()} to {widths.max()} px wide"
    else:
        blocks = widths * START // size
        seen = f"squares of {blocks.min()} to {blocks.max()} of the {START} blocks in a row"
        seen += " that the picture starts from"
    return f"Through the convolutions before it, such a convolution sees {seen}."


def reading_note(sees_picture: bool) -> str:
    """How to read the figure."""
    field = "Dashed: what it sees of the picture through the convolutions before it. "
    return (
        "Heat: how many times uniform attention a place gets, on a log scale, interpolated between "
        "keys. Outline in the dot's color: the fewest keys that hold half of the attention; "
        "'half in' is their share of all keys. White square: the positions that a 3 × 3 "
        "convolution in the layer's place would read; 'beyond 3×3' is the attention on keys that "
        "do not touch it. "
        f"{field if sees_picture else ''}"
        "Distance: how far away on average a pixel looks; a corner is far from everything. "
        "Entropy: how undecided it is, from 0 (one key) to uniform."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"
