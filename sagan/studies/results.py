"""One small file for each run, from which reports are made and by which a study goes on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from sagan.config import Config
from sagan.errors import SaganError, first_problem
from sagan.metrics.protocol import differences
from sagan.storage.files import read_small, write_bytes
from sagan.studies.run import Curve, Findings, Network, Run, run_name


class Result(BaseModel):
    """What OUT/results/VARIANT-seedN.json holds.

    Attributes:
        format: of this file.
        study: its name.
        variant: its name.
        seed: of the run.
        config: the run's whole configuration.
        parameters: of each network that there was.
        numbers: what was found, by name.
        curves: (x, y) in order, by name.
        protocol: what the numbers hold under.
        cost: seconds of a "step" of training, and of the "whole" run, by the clock, what earlier
            processes recorded of it included; no part of what was found, since it differs from
            time to time.
        environment: software and machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    study: str
    variant: str
    seed: int = Field(ge=0)
    config: Config
    parameters: dict[Network, int]
    numbers: dict[str, FiniteFloat]
    curves: dict[str, list[tuple[FiniteFloat, FiniteFloat]]]
    protocol: dict[str, JsonValue]
    cost: dict[Literal["step", "whole"], FiniteFloat] = Field(min_length=2)
    environment: dict[str, JsonValue]

    @property
    def name(self) -> str:
        """Of its run."""
        return run_name(self.variant, self.seed)


def result_of(
    run: Run, findings: Findings, seconds: float, environment: Mapping[str, JsonValue]
) -> Result:
    """What a run found, as it is kept: curves to six digits, without what is not finite."""
    return Result(
        study=run.study,
        variant=run.variant,
        seed=run.config.seed,
        config=run.config,
        parameters=findings.parameters,
        numbers={name: v for name, v in findings.numbers.items() if math.isfinite(v)},
        curves={name: _rounded(curve) for name, curve in findings.curves.items()},
        protocol=findings.protocol,
        cost={"step": findings.step_seconds, "whole": seconds},
        environment=dict(environment),
    )


def _rounded(curve: Curve) -> Curve:
    return [(x, float(f"{y:.6g}")) for x, y in curve if math.isfinite(y)]


def path_of(folder: Path, name: str) -> Path:
    """Where the result of the run of that name is kept."""
    return folder / "results" / f"{name}.json"


def write_result(folder: Path, name: str, result: Result) -> None:
    """Keep a run's result, whole or not at all."""
    path = path_of(folder, name)
    write_bytes(path, (result.model_dump_json(indent=1) + "\n").encode())


def read_results(folder: Path, study: str) -> list[Result]:
    """All results of a study, in the order of their names.

    Args:
        folder: the study's.
        study: its name.

    Raises:
        SaganError: a file is none, or one of another study or run.
    """
    results = {path: _read(path) for path in _sorted((folder / "results").glob("*.json"))}
    for path, result in results.items():
        if (result.study, result.name) != (study, path.stem):
            raise SaganError(
                f"{path} is a result of the study {result.study}, {result.variant}, seed "
                f"{result.seed}: move it to where it belongs, or delete it to run this one again"
            )
    return list(results.values())


def check_alike(folder: Path, results: Sequence[Result]) -> None:
    """Refuse to compare what was measured in different ways.

    Raises:
        SaganError: a part of two results' protocols differs that both have.
    """
    first: dict[str, Result] = {}
    for result in results:
        for part, protocol in result.protocol.items():
            other = first.setdefault(part, result)
            apart = next(differences({part: other.protocol[part]}, {part: protocol}), None)
            if apart:
                one, two = (path_of(folder, r.name) for r in (other, result))
                raise SaganError(
                    f"{one} and {two} hold under different protocols, {apart}: delete the one "
                    "that is to be run again"
                )


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.name)


def _read(path: Path) -> Result:
    try:
        return Result.model_validate_json(read_small(path))
    except ValidationError as error:
        raise SaganError(
            f"{path} is not a study's result: {first_problem(error)}; delete it to run it again"
        ) from None
