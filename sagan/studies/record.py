"""OUT/study.json: what all runs of a study share."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sagan.config import Config
from sagan.errors import SaganError
from sagan.storage.files import read_small, refuse_links, write_bytes
from sagan.studies.run import StudyData

# What a study reads and writes in its folder.
STUDY_CONTENT = (
    *("study.json", ".gitignore", ".lock", "results", "runs", "pilot", "figures"),
    *("report.html", "report.md", "results.csv", "summary.json"),
)


class SplitRecord(BaseModel):
    """Fingerprint and number of images of a split."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fingerprint: str
    pictures: int


class DataRecord(BaseModel):
    """The images of a study: their source, size in pixels, number of classes, and splits."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str
    size: int | str
    classes: int
    train: SplitRecord
    test: SplitRecord | None = None


class PlanRecord(BaseModel):
    """What was laid down before the first result.

    Attributes:
        deltas: size of the smallest effect of interest, by number: a share of a distance, or a
            difference of accuracies.
        claims: number of claims, which verdicts are corrected for.
        variants: names of the variants.
        looks: numbers of seeds after which verdicts are drawn, ascending; the last one is the
            number that was planned.
        deviations: of a paired difference between seeds, by number, in the units of its delta: as
            the pilot estimates it.
        assumed: the same, as assumed: an upper confidence limit.
        pilot_steps: steps of the pilot's runs.
        core_hours: of all planned runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    deltas: dict[str, Annotated[float, Field(gt=0)]]
    claims: int = Field(ge=1)
    variants: list[str]
    looks: list[int] = Field(min_length=1)
    deviations: dict[str, float]
    assumed: dict[str, float]
    pilot_steps: int
    core_hours: float

    @property
    def seeds(self) -> int:
        """The planned number of seeds."""
        return self.looks[-1]

    def has(self, variant: str, seed: int) -> bool:
        """Return whether a run was planned."""
        return variant in self.variants and seed < self.seeds


class StudyRecord(BaseModel):
    """Contents of study.json.

    Attributes:
        format: version of this file's format.
        study: name of the study.
        preset: preset of all runs.
        config: configuration that all runs share; variants and seeds depart from it.
        data: the images.
        commands: command lines that contributed runs, the first one first.
        runs: names of all runs that were requested.
        samples: number of samples to measure of each run, if one was asked for.
        plan: what was laid down before the first result, if anything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    study: str
    preset: str
    config: Config
    data: DataRecord
    commands: list[str]
    runs: list[str] = []
    samples: int | None = Field(default=None, ge=1)
    plan: PlanRecord | None = None


def describe_data(data: StudyData) -> DataRecord:
    """Return what study.json records of a data set."""
    source = Path(data.train.source)
    return DataRecord(
        # Of a path only the name: the same images may lie elsewhere on another machine.
        source=source.name if source.exists() else data.train.source,
        size=data.train.size,
        classes=data.train.num_classes,
        **{split: SplitRecord(**found) for split, found in data.fingerprints().items()},
    )


def read_record(out: Path) -> StudyRecord | None:
    """Read OUT/study.json; return None if OUT does not contain a study.

    Raises:
        SaganError: study.json is damaged, or missing while results or runs are present, or there
            is a link in the place of a study's file or folder.
    """
    refuse_links(out, STUDY_CONTENT)
    path = out / "study.json"
    if not path.is_file():
        for left in ("results", "runs"):
            if (out / left).exists():
                raise SaganError(
                    f"'{out}' contains {left} but no study.json to say which study they belong "
                    "to: give another --out"
                )
        return None
    try:
        return StudyRecord.model_validate_json(read_small(path))
    except ValidationError:
        raise SaganError(f"'{path}' is damaged: give another --out") from None


def write_record(out: Path, record: StudyRecord) -> None:
    """Write OUT/study.json, and a .gitignore that keeps run directories out of version control."""
    write_bytes(
        out / "study.json", (record.model_dump_json(indent=2, exclude_none=True) + "\n").encode()
    )
    write_bytes(out / ".gitignore", b"/runs/\n/pilot/runs/\n/.lock\n")
