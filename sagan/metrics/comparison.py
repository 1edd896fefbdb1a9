"""Two evaluations side by side, provided they were made under the same protocol."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    JsonValue,
    ValidationError,
    model_validator,
)

from sagan.errors import SaganError, first_problem
from sagan.metrics.protocol import Better, differences, not_stated
from sagan.storage.files import read_small

# Keys that every protocol must have, by part.
REQUIRED_KEYS = {
    "features": {"network", "weights"},
    "reference": {"fingerprint", "pictures"},
    "samples": {"pictures", "weights", "seed"},
    "metrics": set(),
}


class Evaluation(BaseModel):
    """Contents of a file written by `sagan evaluate --json`; see `sagan.metrics.evaluate`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    format: Literal[1]
    metrics: dict[str, FiniteFloat]
    better: dict[str, Better]
    notes: list[str]
    protocol: dict[str, dict[str, JsonValue]]
    model: dict[str, JsonValue]
    environment: dict[str, str | int]

    @model_validator(mode="after")
    def _is_whole(self) -> "Evaluation":
        for part, keys in {**REQUIRED_KEYS, "metrics": self.better.keys()}.items():
            if part not in self.protocol:
                raise ValueError(f"nothing about {part}")
            if missing := sorted(keys - self.protocol[part].keys()):
                raise ValueError(f"{part} says nothing about {', '.join(missing)}")
        return self

    def protocol_of(self, metrics: set[str]) -> dict[str, Any]:
        """Return what decides these metrics' numbers, and which numbers are better."""
        each = {name: self.protocol["metrics"][name] for name in sorted(metrics)}
        better = {name: self.better[name] for name in sorted(metrics)}
        return {**self.protocol, "metrics": each, "better": better}


@dataclass(frozen=True)
class Comparison:
    """One metric of two evaluations.

    Attributes:
        metric: its name.
        one: the number in the first evaluation.
        other: the number in the second evaluation.
        better: "A" for the first, "B" for the second, or "neither".
    """

    metric: str
    one: float
    other: float
    better: Literal["A", "B", "neither"]


def read_evaluation(path: Path) -> Evaluation:
    """Read and check an evaluation.

    Raises:
        SaganError: the file cannot be read, or is not an evaluation.
    """
    try:
        return Evaluation.model_validate_json(read_small(path))
    except ValidationError as error:
        problem = first_problem(error)
        raise SaganError(f"'{path}' was not written by sagan evaluate --json: {problem}") from None


def compare(one: Path, other: Path) -> list[Comparison]:
    """Rank two evaluations by each metric that both have.

    Raises:
        SaganError: a file is not an evaluation, the two have no metric in common, or their
            protocols differ; the message says how.
    """
    a, b = read_evaluation(one), read_evaluation(other)
    shared = a.better.keys() & b.better.keys() & a.metrics.keys() & b.metrics.keys()
    changed = list(differences(a.protocol_of(shared), b.protocol_of(shared)))
    if changed:
        raise SaganError(
            f"'{one}' and '{other}' have different protocols, so their numbers cannot be ranked. "
            f"They differ in {'; '.join(changed)}"
        )
    if not shared:
        raise SaganError(f"'{one}' and '{other}' have no metric in common")
    return [
        Comparison(name, a.metrics[name], b.metrics[name], _better(name, a, b))
        for name in a.better
        if name in shared
    ]


def open_conditions(*paths: Path) -> list[str]:
    """Return the conditions that one of these evaluations does not state, each once."""
    protocols = [read_evaluation(path).protocol for path in paths]
    return list(dict.fromkeys(key for protocol in protocols for key in not_stated(protocol)))


def _better(name: str, a: Evaluation, b: Evaluation) -> Literal["A", "B", "neither"]:
    one, other = a.metrics[name], b.metrics[name]
    if one == other or a.better[name] == "neither":
        return "neither"
    return "A" if (one > other) is (a.better[name] == "higher") else "B"
