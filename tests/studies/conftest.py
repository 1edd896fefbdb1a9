"""Made-up results, without training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from sagan.config import resolve
from sagan.metrics.features.network import DEFAULT_DISTANCE
from sagan.studies.definitions.attention import STUDY
from sagan.studies.record import StudyRecord
from sagan.studies.results import Result

Make = Callable[..., Result]


@pytest.fixture(scope="session")
def result() -> Make:
    """result(variant, seed, distance, **more): a result of the study attention."""

    def make(variant: str, seed: int, distance: float, **more: Any) -> Result:
        content: dict[str, Any] = {
            "study": STUDY.name,
            "variant": variant,
            "seed": seed,
            "config": resolve("smoke", {"seed": seed}),
            "parameters": {"generator": 1000, "discriminator": 2000},
            "numbers": {DEFAULT_DISTANCE: distance},
            "curves": {"gamma/generator.attention_16": [(1, 0.1 * seed), (2, 0.2)]},
            "protocol": {"samples": {"pictures": 10}},
            "cost": {"step": 0.25, "whole": 100.0},
            "environment": {"torch": "9.9"},
        }
        return Result.model_validate(content | more)

    return make


@pytest.fixture(scope="session")
def results(result: Make) -> Callable[[Mapping[str, Sequence[float]]], list[Result]]:
    """results({variant: distances by seed})."""

    def make(distances: Mapping[str, Sequence[float]]) -> list[Result]:
        return [
            result(variant, seed, value)
            for variant, values in distances.items()
            for seed, value in enumerate(values)
        ]

    return make


@pytest.fixture(scope="session")
def record() -> StudyRecord:
    """study.json of the study attention."""
    return StudyRecord(
        study=STUDY.name,
        preset="smoke",
        config=resolve("smoke", {"conditional": False}),
        data={
            "source": "<b>photos</b>",
            "size": 32,
            "classes": 0,
            "train": {"pictures": 60, "fingerprint": "0" * 64},
        },
        commands=["sagan study attention --data photos --out studies/a"],
    )
