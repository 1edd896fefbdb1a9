"""Configuration files for `sagan train --config`: YAML or JSON, a run's config.json too."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sagan.config import Config, check_keys, parse_config
from sagan.errors import SaganError
from sagan.storage.files import read_text
from sagan.training.assignments import LISTS, parse_value

SUFFIXES = (".yaml", ".yml", ".json")
STEPS_AND_LIMIT = "a time limit decides the number of steps: give one of the two"


@dataclass(frozen=True)
class ConfigFile:
    """The content of a configuration file.

    Attributes:
        preset: the preset that its settings change; None if it names none.
        settings: fields and values of a configuration.
        whole: whether these are all fields, as in a run's config.json.
        start: the model that the file's run started from; "" if it started from scratch.
    """

    preset: str | None
    settings: Mapping[str, Any]
    whole: bool = False
    start: str = ""

    def with_overrides(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings with others in their place; of steps and time limit, the given one.

        A time limit decides the number of steps, so beside one the file's own number goes: a file
        with all fields has always one.

        Args:
            overrides: what the command line says.
        """
        settings = dict(self.settings)
        if "steps" in overrides and not overrides.get("minutes"):
            settings.pop("minutes", None)
        elif overrides.get("minutes", settings.get("minutes")):
            settings.pop("steps", None)
        return settings | dict(overrides)


def read_config_file(path: Path) -> ConfigFile:
    """Read and check a configuration file.

    It has settings by name, and may name a preset that they change. A run's config.json has them
    all, and gives an equal run: its number of steps is taken, not the time limit that decided it.

    Raises:
        SaganError: it cannot be read, is neither YAML nor JSON, or has an unknown setting or an
            impossible value.
    """
    content = _parsed(path)
    try:
        return _of_run(content) if "config" in content else _of_settings(content)
    except SaganError as error:
        raise SaganError(f"'{path}': {error}") from None


def _parsed(path: Path) -> dict[Any, Any]:
    if path.suffix.lower() not in SUFFIXES:
        raise SaganError(f"'{path}' is not a configuration file: call it NAME.yaml or NAME.json")
    text = read_text(path)
    kind = "JSON" if path.suffix.lower() == ".json" else "YAML"
    try:
        content = json.loads(text) if kind == "JSON" else yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise SaganError(f"'{path}' is not YAML: {error.problem}{where}") from None
    except json.JSONDecodeError as error:
        raise SaganError(f"'{path}' is not JSON: {error.msg} in line {error.lineno}") from None
    except (ValueError, TypeError, RecursionError, yaml.YAMLError):
        raise SaganError(f"'{path}' is not {kind}") from None
    if not isinstance(content, dict):
        raise SaganError(f"'{path}' has no settings: write one 'key: value' on each line")
    return content


def _of_settings(content: dict[Any, Any]) -> ConfigFile:
    preset = content.pop("preset", None)
    if preset is not None and not isinstance(preset, str):
        raise SaganError(f"the preset {preset!r} is not a name")
    check_keys(content)
    settings = {key: _value(key, value) for key, value in content.items()}
    whole = settings.keys() == Config.model_fields.keys()
    if settings.get("minutes") and "steps" in settings and not whole:
        raise SaganError(STEPS_AND_LIMIT)
    return ConfigFile(preset, settings, whole)


def _value(key: str, value: Any) -> Any:
    """Return a setting's value, where attention may be one number or text, as after --set."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return parse_value(key, str(value)) if key in LISTS else value
    return value


def _of_run(content: dict[Any, Any]) -> ConfigFile:
    settings, preset, start = content["config"], content.get("preset"), content.get("from")
    if not isinstance(settings, dict) or not isinstance(preset, str | None):
        raise SaganError("this is not a run's configuration")
    check_keys(settings)
    # A run of an earlier version lacks later settings, which then have their defaults.
    config = parse_config(settings).model_copy(update={"minutes": 0.0})
    model = start.get("model") if isinstance(start, dict) else None
    return ConfigFile(preset, config.model_dump(), whole=True, start=str(model or ""))
