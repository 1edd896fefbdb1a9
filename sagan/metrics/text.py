"""Evaluations and comparisons as lines of text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sagan.metrics.comparison import Comparison
from sagan.metrics.protocol import NOT_STATED

HASH_DIGITS_SHOWN = 12  # of 64; the JSON file has all of them


def evaluation_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of an evaluation: numbers, protocol, notes."""
    metrics, better = document["metrics"], document["better"]
    for name, value in metrics.items():
        if better.get(name, "neither") != "neither":
            yield f"{name:<23} {value:<12.5g}{better[name]} is better"
        else:
            yield f"  {name:<21} {value:<12.5g}"
    for part, content in document["protocol"].items():
        if part != "metrics":
            yield f"{part:<24}{_described(content)}"
    for name, content in document["protocol"]["metrics"].items():
        if content:
            yield f"{name:<24}{_described(content)}"
    for note in document["notes"]:
        yield f"note: {note}"


def _described(content: Mapping[str, Any]) -> str:
    stated = [f"{key} {_value(v)}" for key, v in content.items() if v != NOT_STATED]
    others = [key for key, value in content.items() if value == NOT_STATED]
    return ", ".join(stated + ([f"{NOT_STATED}: {', '.join(others)}"] if others else []))


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_described(value)})"
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    return text[:HASH_DIGITS_SHOWN] if len(text) == 64 and text.isalnum() else text


def comparison_lines(
    comparisons: Sequence[Comparison], open_conditions: Sequence[str] = ()
) -> Iterator[str]:
    """Yield a line for each metric that says whether A or B is better.

    Args:
        comparisons: the metrics.
        open_conditions: what one of the two protocols does not state.
    """
    yield f"{'':<24}{'A':<12}{'B':<12}better"
    for row in comparisons:
        yield f"{row.metric:<24}{row.one:<12.5g}{row.other:<12.5g}{row.better}"
    if open_conditions:
        yield (
            "note: these conditions of given images are unknown, so they may "
            f"differ: {', '.join(open_conditions)}"
        )
