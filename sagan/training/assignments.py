"""Settings as text, as in `--set key=value`."""

import json
from collections.abc import Sequence
from typing import Any

from sagan.config import Config
from sagan.errors import SaganError, similar_words

LISTS = ("attention_g", "attention_d", "augment_with")  # settings with any number of values


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Parse assignments such as `["lr_g=1e-4", "attention_g=8,16"]` into fields and values.

    Values are JSON, comma-separated lists or plain text. `resolve` then checks the types.

    Raises:
        SaganError: an assignment has no `=`, or its field is unknown.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, text = split_assignment("--set", assignment)
        if key not in Config.model_fields:
            raise SaganError(
                f"--set {assignment!r}: unknown setting {key!r}"
                f"{similar_words(key, Config.model_fields)}"
            )
        settings[key] = parse_value(key, text)
    return settings


def split_assignment(option: str, assignment: str) -> tuple[str, str]:
    """Return key and text of an assignment.

    Args:
        option: that it was given with.
        assignment: `key=text`.

    Raises:
        SaganError: it has no `=`.
    """
    key, equals, text = assignment.partition("=")
    if not equals:
        raise SaganError(f"{option} {assignment!r} is not of the form key=value")
    return key.strip(), text.strip()


def parse_value(key: str, text: str) -> Any:
    """Return the value that a setting's text stands for: JSON, a list of sizes, or plain text."""
    if key in LISTS:
        parts = [part for part in text.strip("[]()").split(",") if part.strip()]
        return tuple(_parse_json(part.strip()) for part in parts)
    return _parse_json(text)


def _parse_json(text: str) -> Any:
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except (ValueError, RecursionError):
        return text
