"""Definition of a study: variants, the measurements of each run, and claims about the numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from sagan.config import Config
from sagan.errors import SaganError
from sagan.studies.run import RunMetrics, RunObserver, StudyData, StudyRun
from sagan.types import NamedProgress

ConfigOverrides: TypeAlias = Mapping[str, Any]  # fields of the configuration and their new values

# In every study: a training that diverges is a finding, not a reason to leave other runs undone.
COMMON_SETTINGS: ConfigOverrides = {"on_nonfinite": "skip"}
COUNT_SPEC = "of"  # spec of a column that counts runs, such as "2 of 3"
ATTENTION_NOTE = (
    "The sign of gamma is arbitrary, so its absolute value is shown. Uniform attention, as before "
    "training, has half of its weight on half of the keys and a large mean distance; where it "
    "stays uniform it adds the mean over the image, and its distance means nothing."
)


@dataclass(frozen=True)
class Variant:
    """A row of a study's table.

    Attributes:
        name: used by --variants and in the names of runs.
        title: short description.
        change: maps the common configuration to the fields that differ in this variant.
        default: whether it is run if --variants is not given.
    """

    name: str
    title: str
    change: Callable[[Config], ConfigOverrides]
    default: bool = True


@dataclass(frozen=True)
class Claim:
    """A claim that one variant is better than another by one number, or than itself by another.

    Attributes:
        sentence: the claim in words; the report says whether it is supported.
        number: a name among a result's numbers.
        better: which numbers are better.
        variant: the variant that is claimed to be better.
        against: the variant it is compared with.
        against_number: the number of `against`; None: the same. A number of the same runs, as
            measured otherwise, begins with `number` and says how: "KD without attention".
    """

    sentence: str
    number: str
    better: Literal["higher", "lower"]
    variant: str
    against: str
    against_number: str | None = None

    @property
    def numbers(self) -> tuple[str, str]:
        """The names of the two numbers that are compared."""
        return self.number, self.against_number or self.number

    @property
    def is_within_runs(self) -> bool:
        """Whether both numbers are of the same run, so that no two trainings are compared."""
        return self.variant == self.against

    @property
    def comparison(self) -> str:
        """What is compared, for tables and figures."""
        number, other = self.numbers
        against = f"itself{other.removeprefix(number)}" if self.is_within_runs else self.against
        return f"{self.variant} over {against}"


@dataclass(frozen=True)
class SmallestEffect:
    """Delta: the smallest difference in a claim's number that would matter to anybody.

    Attributes:
        size: above 0.
        relative: whether it is a share of the number of the variant that is compared with.
    """

    size: float
    relative: bool

    def margin(self, number: float) -> float:
        """Return delta for a run, given the number of the run that it is compared with."""
        return self.size * number if self.relative else self.size

    def __str__(self) -> str:
        return f"{self.size:.3g} of the other variant's" if self.relative else f"{self.size:.3g} in"


@dataclass(frozen=True)
class Column:
    """A number in the report's tables.

    Attributes:
        number: a name among a result's numbers.
        title: the heading.
        spec: format specification of a value; `COUNT_SPEC` to count runs.
        of_runs: whether only the table of single runs has it, because its mean is meaningless.
    """

    number: str
    title: str
    spec: str = ".3g"
    of_runs: bool = False


SMALLEST_DISTANCE = SmallestEffect(0.05, relative=True)  # of a distance to the training images
SMALLEST_ACCURACY = SmallestEffect(0.01, relative=False)
SMALLEST_AGREEMENT = SmallestEffect(0.02, relative=False)  # from 0, chance, to 1
DROPPED_COLUMN = Column("dropped", "dropped updates (not finite)", ".0f")  # if there were any


@dataclass(frozen=True)
class Chart:
    """A figure with a line for each variant: the mean over seeds, and the range between them.

    Attributes:
        title: what it shows.
        curves: names among a result's curves, as a pattern with "*".
        largest: take the largest of the matching curves rather than their mean.
        x: label of the horizontal axis.
        log: whether the vertical axis is logarithmic.
        log_x: whether the horizontal axis is logarithmic.
    """

    title: str
    curves: str
    largest: bool = False
    x: str = "step"
    log: bool = False
    log_x: bool = False


@dataclass(frozen=True)
class Study:
    """A question, and how it is answered by training networks.

    Attributes:
        name: used by the command line.
        question: in one sentence.
        variants: all variants, in the order of the report.
        prepare: computes once, before any run, what all runs share.
        perform: trains a run, if its variant is trained, and measures it.
        claims: claims; those without runs of both variants are left out of the report.
        columns: columns of the report's tables.
        charts: figures of the report, each drawn if results have its curves.
        smallest: delta, by the number of a claim, unless a plan lays down another size.
        settings: fields of the configuration that are fixed in every run, whatever the preset.
        by_layer: prefix of curves; the report tabulates their last values, one layer per row.
        splits: splits of the data set that the study uses.
        notes: what a reader of the report should know.
    """

    name: str
    question: str
    variants: tuple[Variant, ...]
    prepare: Callable[[StudyData, NamedProgress], None]
    perform: Callable[[StudyRun, StudyData, RunObserver], RunMetrics]
    claims: tuple[Claim, ...]
    columns: tuple[Column, ...]
    charts: tuple[Chart, ...]
    smallest: Mapping[str, SmallestEffect]
    settings: ConfigOverrides = field(default_factory=dict)
    by_layer: str = ""
    splits: tuple[str, ...] = ("train",)
    notes: tuple[str, ...] = ()

    @property
    def main_numbers(self) -> tuple[str, ...]:
        """The first claim's number, and those whose delta is the same: `--delta` is theirs."""
        main = self.smallest[self.claims[0].number]
        return tuple(number for number, smallest in self.smallest.items() if smallest == main)

    def sizes_of(self, deltas: Mapping[str, float]) -> dict[str, float]:
        """Return sizes of delta by number, as given by --delta.

        Args:
            deltas: by number; by "" for all `main_numbers`.

        Raises:
            SaganError: the study has no such number.
        """
        if unknown := deltas.keys() - self.smallest.keys() - {""}:
            raise SaganError(
                f"the study {self.name} has no claim about '{sorted(unknown)[0]}': give --delta "
                f"for {', '.join(self.smallest)}"
            )
        named = {number: size for number, size in deltas.items() if number}
        return dict.fromkeys(self.main_numbers, deltas[""]) | named if "" in deltas else named

    def effects(self, sizes: Mapping[str, float]) -> dict[str, SmallestEffect]:
        """Return delta by number, with these sizes in place of the study's own."""
        return {
            number: replace(smallest, size=sizes.get(number, smallest.size))
            for number, smallest in self.smallest.items()
        }
