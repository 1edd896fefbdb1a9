"""Attention made visible: numbers, query points, figures. Only figures need more than NumPy."""

from sagan.explain.figure import attention_figure
from sagan.explain.queries import (
    grid_queries,
    interesting_queries,
    parse_query,
    pixel_to_query,
    query_to_pixel,
)
from sagan.explain.receptive import convolution_window, receptive_field
from sagan.explain.statistics import (
    attended_region,
    attention_beyond,
    attention_distance,
    attention_entropy,
    concentration,
    uniform_distance,
)
from sagan.explain.view import LayerView
from sagan.figures import save_figure

__all__ = [
    "LayerView",
    "attended_region",
    "attention_beyond",
    "attention_distance",
    "attention_entropy",
    "attention_figure",
    "concentration",
    "convolution_window",
    "grid_queries",
    "interesting_queries",
    "parse_query",
    "pixel_to_query",
    "query_to_pixel",
    "receptive_field",
    "save_figure",
    "uniform_distance",
]
