"""One run of a study: its configuration, its data, what observes it, and what it measures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from sagan.config import Config
from sagan.data import PackedDataset
from sagan.types import NamedProgress

if TYPE_CHECKING:
    from sagan.training.recorder import Reporter

Series: TypeAlias = list[tuple[float, float]]  # (x, y), x ascending; x is mostly the step
NetworkName: TypeAlias = Literal["generator", "discriminator"]
NETWORK_NAMES: tuple[NetworkName, ...] = get_args(NetworkName)


def run_name(variant: str, seed: int) -> str:
    """Return the name of a run's directory and result, such as "none-seed0"."""
    return f"{variant}-seed{seed}"


FINAL_SAMPLES = 10_000  # to measure of a run that saw at least as many training images


@dataclass(frozen=True)
class StudyRun:
    """A variant with a seed.

    Attributes:
        study: name of the study.
        variant: name of the variant.
        config: the full configuration, including seed and steps.
        preset: the preset it is based on.
        folder: its run directory.
        samples: how many of the finished run are measured, at most.
    """

    study: str
    variant: str
    config: Config
    preset: str
    folder: Path
    samples: int = FINAL_SAMPLES

    @property
    def name(self) -> str:
        """Name of its directory and result."""
        return run_name(self.variant, self.config.seed)


@dataclass(frozen=True)
class StudyData:
    """The data set, packed at the study's resolution.

    Attributes:
        splits: packed sets by split; "train" is always present.
    """

    splits: Mapping[str, PackedDataset]

    @property
    def train(self) -> PackedDataset:
        """The training split."""
        return self.splits["train"]

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """Return the fingerprint and the number of images of each split, as study.json has them."""
        return {
            split: {"fingerprint": dataset.fingerprint, "pictures": len(dataset)}
            for split, dataset in self.splits.items()
        }


@dataclass(frozen=True)
class RunObserver:
    """Where a run reports its progress.

    Attributes:
        reporter: receives the training's records.
        progress: called while the run is measured.
    """

    reporter: "Reporter"
    progress: NamedProgress


@dataclass(frozen=True)
class RunMetrics:
    """What a run measured.

    Attributes:
        numbers: by name; numbers that could not be measured are absent.
        curves: by name.
        parameters: number of parameters of each network that the run has.
        protocol: conditions under which the numbers were measured.
        step_seconds: seconds per training step; 0 if nothing was trained.
        blocks: numbers on disjoint blocks of images, by name (see `Result`).
    """

    numbers: dict[str, float] = field(default_factory=dict)
    curves: dict[str, Series] = field(default_factory=dict)
    parameters: dict[NetworkName, int] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    step_seconds: float = 0.0
    blocks: dict[str, list[float]] = field(default_factory=dict)
