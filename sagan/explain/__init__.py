"""Seeing the attention: numbers, query points and figures. NumPy only, until a figure is drawn."""

from sagan.explain.figure import attention_figure, save_figure
from sagan.explain.queries import (
    interesting_queries,
    parse_query,
    pixel_to_query,
    query_to_pixel,
)
from sagan.explain.statistics import (
    attended_region,
    attention_distance,
    attention_entropy,
    concentration,
    uniform_distance,
)

__all__ = [
    "attended_region",
    "attention_distance",
    "attention_entropy",
    "attention_figure",
    "concentration",
    "interesting_queries",
    "parse_query",
    "pixel_to_query",
    "query_to_pixel",
    "save_figure",
    "uniform_distance",
]
