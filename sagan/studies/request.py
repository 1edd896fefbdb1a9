"""What the user asks of a study, in the user's words."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sagan.errors import SaganError

ClusterName: TypeAlias = Literal["slurm", "local"]


@dataclass(frozen=True)
class PilotRequest:
    """What the user lays down and asks for with --plan.

    Attributes:
        deltas: size of the smallest effect of interest, by number; by "" in the study's
            `main_numbers`. The study's own size for others.
        seeds: number of pilot runs of each variant, at least 2.
        steps: of each pilot run; None for `PILOT_SHARE` of a run's steps.
    """

    deltas: Mapping[str, float]
    seeds: int
    steps: int | None


def parse_deltas(texts: Sequence[str]) -> dict[str, float]:
    """Return sizes by number, as `PilotRequest.deltas`, from words such as "0.1" and "FID=0.2".

    Raises:
        SaganError: a size is not a number above 0.
    """
    deltas = {}
    for text in texts:
        number, _, size = text.rpartition("=")
        try:
            deltas[number] = float(size)
        except ValueError:
            deltas[number] = math.nan
        if not 0 < deltas[number] < math.inf:
            raise SaganError(f"--delta {text} is not an effect: give a number above 0")
    return deltas


@dataclass(frozen=True)
class ClusterRequest:
    """Where to submit runs as jobs.

    Attributes:
        name: slurm; or local, which starts them as processes, to try it out.
        settings: submitit's parameters, such as `slurm_partition`.
    """

    name: ClusterName
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class StudyRequest:
    """What the user asks for, in the user's words.

    Attributes:
        study: name of the study.
        data: where the images are.
        out: the study's folder; if it already contains the study, the study resumes.
        preset: preset of all runs.
        settings: fields of the configuration that replace the preset's.
        variants: names; empty for the study's default variants.
        seeds: number of seeds, counted from 0; None for as many as were planned.
        steps: of each run; None for the preset's, or as many as the budget allows.
        budget_minutes: for all runs that are still missing; None for no limit.
        jobs: number of runs at a time; None for as many as suit the machine.
        samples: number to measure of each run; None for what the study began with, or else as many
            as the images that a run sees, up to `FINAL_SAMPLES`.
        pilot: how to plan the study; None to do its runs.
        cluster: where to submit runs; None to do them on this machine.

    Raises:
        SaganError: steps and minutes are both given, or the minutes are not finite.
    """

    study: str
    data: str
    out: Path
    preset: str
    settings: Mapping[str, Any]
    variants: Sequence[str]
    seeds: int | None
    steps: int | None
    budget_minutes: float | None
    jobs: int | None
    samples: int | None = None
    pilot: PilotRequest | None = None
    cluster: ClusterRequest | None = None

    def __post_init__(self) -> None:
        if self.budget_minutes is not None and not math.isfinite(self.budget_minutes):
            raise SaganError(f"--budget-minutes {self.budget_minutes} is not a number of minutes")
        if self.steps is not None and self.budget_minutes is not None:
            raise SaganError("--steps and --budget-minutes both set the length of runs: give one")
        if self.pilot is not None and (self.budget_minutes is not None or self.seeds is not None):
            raise SaganError("--plan decides the number of seeds: give --steps and nothing else")

    def command(self) -> str:
        """Return the command line of this request."""
        words = ["sagan", "study", self.study, "--data", self.data, "--out", str(self.out)]
        words += ["--preset", self.preset]
        if self.seeds is not None:
            words += ["--seeds", str(self.seeds)]
        if self.variants:
            words += ["--variants", ",".join(self.variants)]
        for key, value in self.settings.items():
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += ["--set", f"{key}={text}"]
        if self.steps is not None:
            words += ["--steps", str(self.steps)]
        if self.samples is not None:
            words += ["--num", str(self.samples)]
        if self.budget_minutes is not None:
            words += ["--budget-minutes", f"{self.budget_minutes:g}"]
        if self.jobs is not None and self.jobs > 1:
            words += ["--jobs", str(self.jobs)]
        if self.cluster is not None:
            words += ["--cluster", self.cluster.name]
            for key, value in self.cluster.settings.items():
                words += ["--cluster-set", f"{key}={value}"]
        if self.pilot is not None:
            words += ["--plan", "--pilot-seeds", str(self.pilot.seeds)]
            for number, delta in self.pilot.deltas.items():
                words += ["--delta", f"{number}={delta:g}" if number else f"{delta:g}"]
            if self.pilot.steps is not None:
                words += ["--pilot-steps", str(self.pilot.steps)]
        return shlex.join(words)
