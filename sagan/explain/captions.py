"""The text of an attention figure."""

# ruff: noqa: RUF001 -- the multiplication and minus signs in captions are intended

import numpy as np

from sagan.explain.overlay import NEARLY_UNIFORM
from sagan.explain.receptive import convolution_windows
from sagan.explain.statistics import (
    attention_beyond,
    attention_distance,
    both,
    concentration,
    grids,
    uniform_distance,
)
from sagan.explain.view import LayerView
from sagan.images.credits import short_credits

MAX_CREDIT = 300  # characters of credits that are looked at; the file has them all


def dot_caption(half: float, beyond: float) -> list[str]:
    """Return the lines below a query's panel.

    Args:
        half: the smallest share of keys that gets half of the attention.
        beyond: the share of attention beyond the convolution window.
    """
    first = "nearly uniform" if half > NEARLY_UNIFORM else f"half on {percent(half)}"
    return [first, f"{percent(beyond)} beyond 3×3"]


def layer_summary(layer: LayerView, size: tuple[int, int]) -> str:
    """Return the layer in numbers: means over all queries of all images."""
    attention = layer.attention
    query, key = grids(attention, size)
    distance = attention_distance(attention, size).mean()
    uniform = uniform_distance(query, key, size).mean()
    window = convolution_windows(query, size)
    beyond = attention_beyond(attention, window, size).mean()
    even = np.broadcast_to(np.float32(1 / attention.shape[-1]), (1, *attention.shape[1:]))
    beyond_uniform = attention_beyond(even, window, size).mean()
    half = concentration(attention).mean()
    gamma = f"{layer.gamma:+.3f}".replace("-", "−")
    return (
        f"{_columns_by_rows(query)} positions attend to {_columns_by_rows(key)} keys; "
        f"gamma {gamma}. On average a position looks {distance:.1f} px away (uniform "
        f"attention: {uniform:.1f} px), gives half of its attention to {percent(half)} of the "
        f"keys, and {percent(beyond)} of it to keys beyond the 3 × 3 positions that a "
        f"convolution here would see (uniform attention: {percent(beyond_uniform)}). "
        f"{_field(layer, size)}"
    )


def _columns_by_rows(grid: tuple[int, int]) -> str:
    return f"{grid[1]} × {grid[0]}"


def _field(layer: LayerView, size: tuple[int, int]) -> str:
    """A sentence on how far convolutions alone see."""
    spans = np.concatenate(both(layer.field))
    widths = spans[:, 1] - spans[:, 0]
    if layer.sees_image:
        seen = f"squares of {widths.min()} to {widths.max()} px in the image"
    else:
        rows, columns = layer.start
        blocks = widths * rows // size[0]
        start = f"{rows}" if rows == columns else f"{columns} × {rows}"
        seen = f"{blocks.min()} to {blocks.max()} of the generator's {start} starting blocks "
        seen += "in each direction"
    return f"With all convolutions before it, such a convolution sees {seen}."


def reading_note(sees_image: bool) -> str:
    """Return how to read the figure."""
    field = "Dashed: what it sees of the image with all convolutions before it. "
    return (
        "Heat: attention relative to uniform attention, on a log scale, interpolated between keys. "
        "Outline in the dot's color: the fewest keys that get half of the attention; 'half on' is "
        "their share of all keys. White square: the positions that a 3 × 3 convolution in the "
        "layer's place would see; 'beyond 3×3' is the attention to keys that do not touch it. "
        f"{field if sees_image else ''}"
        "Distance: how far a pixel looks on average; corners are far from everything. "
        "Entropy: how spread out its attention is, from 0 (one key) to uniform."
    )


def credit_line(credits: str) -> str:
    """Return the line that credits the training images."""
    return f"Trained on: {short_credits(credits, 'in the metadata of this file')}"


def percent(share: float) -> str:
    """Return a share as a percentage, with one decimal below 10%."""
    return f"{100 * share:.0f}%" if share >= 0.0995 else f"{100 * share:.1f}%"
