"""One small file for each run, from which reports are made and by which a study resumes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from sagan.config import Config
from sagan.errors import SaganError, first_problem
from sagan.metrics.protocol import differences
from sagan.storage.files import read_small, write_bytes
from sagan.studies.run import NetworkName, RunMetrics, Series, StudyRun, run_name


class Result(BaseModel):
    """Contents of OUT/results/VARIANT-seedN.json.

    Attributes:
        format: version of this file's format.
        study: name of the study.
        variant: name of the variant.
        seed: seed of the run.
        config: full configuration of the run.
        parameters: number of parameters of each network that the run has.
        numbers: measured numbers by name.
        curves: (x, y) by name, x ascending.
        blocks: some of the numbers on disjoint blocks of the images they were measured on, the
            same blocks in every run; from these follows what other images might have given.
        protocol: conditions under which the numbers were measured.
        cost: seconds per training "step", and seconds of the "whole" run, including what earlier
            processes recorded of it; newer ones also have "cpu", of all threads. Kept
            apart from the numbers, since it differs from one execution to the next.
        environment: software and machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    study: str
    variant: str
    seed: int = Field(ge=0)
    config: Config
    parameters: dict[NetworkName, int]
    numbers: dict[str, FiniteFloat]
    curves: dict[str, list[tuple[FiniteFloat, FiniteFloat]]]
    blocks: dict[str, list[FiniteFloat]] = {}
    protocol: dict[str, JsonValue]
    cost: dict[Literal["step", "whole", "cpu"], FiniteFloat] = Field(min_length=2)
    environment: dict[str, JsonValue]

    @property
    def name(self) -> str:
        """Name of its run."""
        return run_name(self.variant, self.seed)

    @property
    def fingerprints(self) -> set[str]:
        """Fingerprints of the image sets that its protocol names."""
        return set(_fingerprints(self.protocol))

    @property
    def core_hours(self) -> float:
        """Hours of computing, or of its duration times the number of its threads."""
        if "cpu" in self.cost:
            return self.cost["cpu"] / 3600
        threads = self.environment.get("threads", 1)
        return self.cost["whole"] / 3600 * (threads if isinstance(threads, int) else 1)


def _fingerprints(protocol: JsonValue) -> Iterator[str]:
    if isinstance(protocol, dict):
        for name, part in protocol.items():
            if name == "fingerprint":
                yield str(part)
            else:
                yield from _fingerprints(part)


def make_result(
    run: StudyRun,
    metrics: RunMetrics,
    seconds: float,
    cpu_seconds: float,
    environment: Mapping[str, JsonValue],
) -> Result:
    """Return a run's result: curves rounded to six digits, values that are not finite left out.

    Blocks are left out as a whole, since they are compared one by one.
    """
    return Result(
        study=run.study,
        variant=run.variant,
        seed=run.config.seed,
        config=run.config,
        parameters=metrics.parameters,
        numbers={name: v for name, v in metrics.numbers.items() if math.isfinite(v)},
        curves={name: _rounded(curve) for name, curve in metrics.curves.items()},
        blocks={
            name: [float(f"{v:.6g}") for v in found]
            for name, found in metrics.blocks.items()
            if all(map(math.isfinite, found))
        },
        protocol=metrics.protocol,
        cost={"step": metrics.step_seconds, "whole": seconds, "cpu": cpu_seconds},
        environment=dict(environment),
    )


def _rounded(curve: Series) -> Series:
    return [(x, float(f"{y:.6g}")) for x, y in curve if math.isfinite(y)]


def result_path(folder: Path, name: str) -> Path:
    """Return the path of a run's result in a study's folder."""
    return folder / "results" / f"{name}.json"


def write_result(folder: Path, name: str, result: Result) -> None:
    """Write a run's result, whole or not at all."""
    path = result_path(folder, name)
    write_bytes(path, (result.model_dump_json(indent=1) + "\n").encode())


def read_results(folder: Path, study: str) -> list[Result]:
    """Read all results of a study, sorted by name.

    Args:
        folder: the study's folder.
        study: name of the study.

    Raises:
        SaganError: a file is not a result, or belongs to another study or run.
    """
    paths = sorted((folder / "results").glob("*.json"), key=lambda path: path.name)
    results = {path: _read(path) for path in paths}
    for path, result in results.items():
        if (result.study, result.name) != (study, path.stem):
            raise SaganError(
                f"'{path}' is a result of the study {result.study}, {result.variant}, seed "
                f"{result.seed}: move it to where it belongs, or delete it to run this one again"
            )
    return list(results.values())


def check_same_protocol(folder: Path, results: Sequence[Result]) -> None:
    """Refuse to compare results that were measured in different ways.

    Raises:
        SaganError: two protocols differ in a part that both have.
    """
    first: dict[str, Result] = {}
    for result in results:
        for part, protocol in result.protocol.items():
            other = first.setdefault(part, result)
            changed = next(differences({part: other.protocol[part]}, {part: protocol}), None)
            if changed:
                one, two = (result_path(folder, r.name) for r in (other, result))
                raise SaganError(
                    f"'{one}' and '{two}' have different protocols, {changed}: delete one of them "
                    "to run it again"
                )


def _read(path: Path) -> Result:
    try:
        return Result.model_validate_json(read_small(path))
    except ValidationError as error:
        raise SaganError(
            f"'{path}' is not a result of a study: {first_problem(error)}; delete it to run it "
            "again"
        ) from None
