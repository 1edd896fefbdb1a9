"""One run of a study: what it is, what it looks at, what it finds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sagan.config import Config
from sagan.data import PackedDataset
from sagan.types import NamedProgress

if TYPE_CHECKING:
    from sagan.training.recorder import Reporter

Curve: TypeAlias = list[tuple[float, float]]
Network: TypeAlias = Literal["generator", "discriminator"]


def run_name(variant: str, seed: int) -> str:
    """What the directory and the result of a run are called, such as "none-seed0"."""
    return f"{variant}-seed{seed}"


@dataclass(frozen=True)
class Run:
    """A variant and a seed.

    Attributes:
        study: name of the study.
        variant: name of the variant.
        config: the whole configuration; seed and steps are in it.
        preset: what it started from.
        folder: its run directory.
    """

    study: str
    variant: str
    config: Config
    preset: str
    folder: Path

    @property
    def name(self) -> str:
        """Of its directory and its result."""
        return run_name(self.variant, self.config.seed)


@dataclass(frozen=True)
class Data:
    """The data set, packed at the study's resolution.

    Attributes:
        splits: by name; "train" is always there.
    """

    splits: dict[str, PackedDataset]

    @property
    def train(self) -> PackedDataset:
        return self.splits["train"]

    def pictures(self) -> dict[str, dict[str, Any]]:
        """Which pictures and how many, by split."""
        return {
            split: {"fingerprint": dataset.fingerprint, "pictures": len(dataset)}
            for split, dataset in self.splits.items()
        }


@dataclass(frozen=True)
class Watch:
    """Where a run shows how it goes.

    Attributes:
        reporter: told of the training.
        progress: told of the measuring.
    """

    reporter: "Reporter"
    progress: NamedProgress


@dataclass(frozen=True)
class Findings:
    """What a run found.

    Attributes:
        numbers: by name; what could not be measured is not there.
        curves: (x, y) in order, by name.
        parameters: of each network that there was.
        protocol: what the numbers hold under.
        step_seconds: of one step of training; 0 where nothing was trained.
    """

    numbers: dict[str, float] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    parameters: dict[Network, int] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    step_seconds: float = 0.0
