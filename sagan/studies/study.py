"""What a study is made of: variants, what is measured of each run, and claims about the numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sagan.config import Config
from sagan.studies.run import Data, Findings, Run, Watch
from sagan.types import NamedProgress

Settings: TypeAlias = Mapping[str, Any]

# In every study: an augmentation that adapts would be another treatment in each variant; and a
# training whose numbers go wrong is a finding, no reason to leave the others undone.
ALIKE: Settings = {"augment": 0.0, "on_nonfinite": "skip"}
COUNTED = "of"  # spec of a column that counts runs, such as "2 of 3"
READING_ATTENTION = (
    "The sign of gamma is a matter of chance, so its size is shown. Attention that is the same for "
    "all keys, as before training, has half of itself in half of the keys, and looks far: where it "
    "stays so it adds the mean over the picture, and distance means nothing."
)


@dataclass(frozen=True)
class Variant:
    """One row of a study's table.

    Attributes:
        name: what --variants calls it, and part of its runs' names.
        title: what it is, in a few words.
        change: from the common configuration to the fields that differ in this variant.
        default: whether it is run where --variants does not say.
    """

    name: str
    title: str
    change: Callable[[Config], Settings]
    default: bool = True


@dataclass(frozen=True)
class Claim:
    """That one variant is better than another by one number.

    Attributes:
        sentence: the claim; the report says whether it is supported.
        number: a name among a result's numbers.
        better: which way is better.
        variant: the one that is claimed to be better.
        against: the other one.
    """

    sentence: str
    number: str
    better: Literal["higher", "lower"]
    variant: str
    against: str


@dataclass(frozen=True)
class Column:
    """A number in the report's table.

    Attributes:
        number: a name among a result's numbers.
        title: the heading.
        spec: how a mean is written, as for `format`; `COUNTED` for how many of the runs.
        of_runs: whether only the table of single runs has it: means of it would say nothing.
    """

    number: str
    title: str
    spec: str = ".3g"
    of_runs: bool = False


DROPPED = Column("dropped", "updates dropped, not finite", ".0f")  # where there were any


@dataclass(frozen=True)
class Chart:
    """A figure with a line for each variant: means over seeds, and the range between them.

    Attributes:
        title: what it shows.
        curves: names among a result's curves, as patterns with "*".
        largest: of the curves that match, take the largest value rather than the mean.
        x: what the horizontal axis is.
        log: whether the vertical axis is logarithmic.
        log_x: whether the horizontal one is.
    """

    title: str
    curves: str
    largest: bool = False
    x: str = "step"
    log: bool = False
    log_x: bool = False


@dataclass(frozen=True)
class Study:
    """A question, and how it is put to networks.

    Attributes:
        name: what the command line calls it.
        question: in one sentence.
        settings: fields of the configuration that hold for every run, whatever the preset.
        variants: all there are, in the order of the report.
        prepare: computes once what all runs look at, before any of them.
        perform: trains a run, or does without, and measures it.
        claims: those whose variants were not run are left out.
        columns: of the report's table.
        charts: the report's figures, each where there are such curves.
        by_layer: prefix of curves whose last values the report tables, a layer a line.
        splits: of the data set that are looked at.
        notes: what a reader of the report should know.
    """

    name: str
    question: str
    variants: tuple[Variant, ...]
    prepare: Callable[[Data, NamedProgress], None]
    perform: Callable[[Run, Data, Watch], Findings]
    claims: tuple[Claim, ...]
    columns: tuple[Column, ...]
    charts: tuple[Chart, ...]
    settings: Settings = field(default_factory=dict)
    by_layer: str = ""
    splits: tuple[str, ...] = ("train",)
    notes: tuple[str, ...] = ()
