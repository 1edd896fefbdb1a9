"""A study's reports, made from study.json and the results alone."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sagan.config import Config
from sagan.display import duration
from sagan.report.document import (
    FIGURES,
    BulletList,
    Code,
    DocumentPart,
    Figure,
    Grid,
    Heading,
    Text,
    as_html,
    as_markdown,
)
from sagan.storage.files import to_json, write_bytes
from sagan.studies.analysis.decisions import LEVEL
from sagan.studies.analysis.figures import drawn_figures
from sagan.studies.analysis.intervals import CONFIDENCE, RESAMPLES
from sagan.studies.analysis.table import ClaimOutcome, ResultTable, SeedStatistics, all_decided
from sagan.studies.record import PlanRecord, StudyRecord
from sagan.studies.results import Result
from sagan.studies.run import NETWORK_NAMES
from sagan.studies.study import COUNT_SPEC, Study

ABSENT, NO_BREAK_SPACE = "—", "\u00a0"
DESCRIPTION = "description"  # heading of the only column of prose


def write_reports(
    study: Study, record: StudyRecord, results: Sequence[Result], out: Path
) -> list[Path]:
    """Write report.html, report.md with its figures, results.csv and summary.json.

    Args:
        study: the study.
        record: what all runs share.
        results: results of the study's runs, at least one.
        out: the study's folder.

    Returns:
        The files that were written; for the figures only their folder.
    """
    table = ResultTable(study, results, record.plan)
    title = f"Study: {study.name}"
    parts = list(_parts(table, record))
    for part in parts:
        if isinstance(part, Figure):
            write_bytes(out / FIGURES / part.file, part.svg.encode())
    contents = {
        "report.html": as_html(title, parts).encode(),
        "report.md": as_markdown(title, parts).encode(),
        "results.csv": _as_csv(table).encode(),
        "summary.json": to_json(study_summary(table)),
    }
    for name, content in contents.items():
        write_bytes(out / name, content)
    return [out / name for name in (FIGURES, *contents)]


def _parts(table: ResultTable, record: StudyRecord) -> Iterator[DocumentPart]:
    outcomes = table.outcomes()
    missing = set(record.runs) - {result.name for result in table.results}
    yield Text(table.study.question)
    if record.plan is not None:
        yield BulletList([_progress(table, outcomes, record.plan)])
    elif missing:
        yield BulletList(
            [f"incomplete: {len(missing)} of {len(record.runs)} runs; verdicts may change"]
        )
    yield Text(_setup(table, record))
    yield Heading("Findings")
    if outcomes:
        yield BulletList([sentence(outcome, record.config) for outcome in outcomes])
    yield Text(_how_to_read(table, outcomes))
    yield Heading("Variants")
    yield _variant_grid(table)
    for title, svg in drawn_figures(table):
        yield Figure(title, svg)
    if outcomes:
        yield Heading("Differences")
        yield _difference_grid(outcomes)
    if table.study.by_layer:
        yield Heading("By layer, at the end")
        yield _layer_grid(table)
    yield Heading("All runs")
    yield _run_grid(table)
    yield Heading("Method")
    yield from map(Text, table.study.notes)
    yield Code("\n".join(record.commands))
    yield Text(_machine(table))
    yield Heading("Protocol of the numbers")
    yield Code(json.dumps(table.results[0].protocol, indent=1))


def _setup(table: ResultTable, record: StudyRecord) -> str:
    config = record.config
    seconds = sum(result.cost["whole"] for result in table.results)
    return (
        f"{len(table.results)} runs of {len(table.variants)} variants; preset {record.preset}, "
        f"{config.steps:,} steps of {config.batch_size} images, on "
        f"{record.data.train.pictures:,} images of {record.data.source} at "
        f"{config.shape}, "
        f"{'conditional' if config.conditional else 'unconditional'}. The durations of the runs "
        f"add up to {duration(seconds)}. All have the same number of steps; variants differ in the "
        "time per step, which was measured while other runs were active if the command has --jobs."
    )


def _progress(table: ResultTable, outcomes: Sequence[ClaimOutcome], plan: PlanRecord) -> str:
    """Return how far a planned study has come."""
    seeds = table.complete_seeds()
    planned = f"planned: verdicts after {_listed(plan.looks)} seeds"
    if all_decided(outcomes, plan):
        used = max(len(outcome.advantage.values) for outcome in outcomes)
        return f"{planned}; every claim is decided after {used}"
    if seeds >= plan.seeds:
        return f"{planned}; all of them are done"
    return f"{planned}; {seeds} are done, so verdicts may change"


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def sentence(outcome: ClaimOutcome, config: Config) -> str:
    """Return the verdict on a claim, the length of training, the claim and the interval."""
    advantage, claim = outcome.advantage, outcome.claim
    seeds = len(advantage.values)
    spread = "one seed does not tell how much seeds vary"
    if seeds > 1:
        spread = (
            f"{CONFIDENCE:.0%} interval {advantage.low:+.3g} to {advantage.high:+.3g}, "
            f"{seeds} seeds; delta {outcome.delta:.3g}"
        )
    needed = ""
    if outcome.seeds_needed is not None:
        needed = (
            f" If this is the effect, about {outcome.seeds_needed:,} seeds would decide it, in "
            f"{outcome.hours_needed:.2g} core-hours more."
        )
    return (
        f"{outcome.verdict} after {config.steps:,} steps of {config.batch_size} images: "
        f"{claim.sentence}. Advantage in {claim.number} "
        f"({claim.better} is better): {advantage.mean:+.3g} ({spread}).{needed}"
    )


def _how_to_read(table: ResultTable, outcomes: Sequence[ClaimOutcome]) -> str:
    if not outcomes:
        return "No claim can be assessed yet: none has both of its variants with the same seed."
    numbers = dict.fromkeys(outcome.claim.number for outcome in outcomes)
    deltas = " and ".join(f"{table.smallest[number]} {number}" for number in numbers)
    planned = "This is valid only if the number of seeds was chosen before the first result."
    if table.plan is not None:
        planned = "Seeds and delta were laid down before the first result."
    return (
        "Runs are paired by seed. A claim is supported if the mean advantage is above 0 by "
        "Student's t test, and contradicted if it is below. The verdict is 'no effect larger than "
        "delta' if two one-sided tests show that the advantage is smaller than delta in both "
        f"directions. Otherwise the claim is undecided. Delta is {deltas}. In about "
        f"{LEVEL:.0%} of such studies at most, any claim is given a wrong direction, and in about "
        f"{LEVEL:.0%} at most any is wrongly said to have no effect: both "
        "tests are corrected for the number of claims (Holm) and of looks. Intervals and p-values "
        f"in the tables are not corrected. {planned}"
    )


def _variant_grid(table: ResultTable) -> Grid:
    columns = [
        column
        for column in table.study.columns
        if not column.of_runs
        and any(table.statistics(variant.name, column.number) for variant in table.variants)
    ]
    titles = [column.title for column in columns]
    rows = []
    for variant in table.variants:
        runs = table.of(variant.name)
        step = sum(run.cost["step"] for run in runs) / len(runs)
        rows.append(
            [
                variant.name,
                variant.title,
                str(len(runs)),
                *_parameters(runs[0]),
                *(_over_seeds(table.statistics(variant.name, c.number), c.spec) for c in columns),
                f"{1000 * step:.0f}{NO_BREAK_SPACE}ms" if step else ABSENT,
            ]
        )
    headings = ["variant", DESCRIPTION, "runs", "parameters of G", "of D", *titles, "time per step"]
    return Grid(headings, rows, prose=DESCRIPTION)


def _parameters(run: Result) -> list[str]:
    counts = [run.parameters.get(network) for network in NETWORK_NAMES]
    return [f"{count:,}" if count is not None else ABSENT for count in counts]


def _over_seeds(statistics: SeedStatistics | None, spec: str) -> str:
    """Return mean and standard deviation over seeds, or a count of runs."""
    if not statistics:
        return ABSENT
    if spec == COUNT_SPEC:
        return f"{sum(statistics.values.values()):.0f} of {len(statistics.values)}"
    if math.isnan(statistics.deviation) or statistics.deviation == 0:
        return format(statistics.mean, spec)
    return f"{statistics.mean:{spec}} ±{NO_BREAK_SPACE}{statistics.deviation:{spec}}"


def _difference_grid(outcomes: Sequence[ClaimOutcome]) -> Grid:
    rows = []
    for outcome in outcomes:
        advantage, claim = outcome.advantage, outcome.claim
        rows.append(
            [
                claim.comparison,
                outcome.verdict,
                claim.number,
                f"{advantage.mean:+.3g}",
                _ends((advantage.low, advantage.high)),
                f"{outcome.delta:.3g}",
                f"{outcome.p_differs:.2g}",
                f"{outcome.p_small:.2g}",
                _ends(outcome.over_images),
                ", ".join(f"{value:+.3g}" for value in advantage.values),
                _ends(advantage.bootstrap),
            ]
        )
    return Grid(
        ["advantage of", "verdict", "in", "mean", f"Student, {CONFIDENCE:.0%}", "delta",
         "p: no difference", "p: delta or more", "over seeds and images", "by seed",
         f"bootstrap, {RESAMPLES:,} resamples"],
        rows,
    )  # fmt: skip


def _ends(interval: tuple[float, float] | None) -> str:
    return f"{interval[0]:+.3g} to {interval[1]:+.3g}" if interval is not None else ABSENT


def _layer_grid(table: ResultTable) -> Grid:
    by_variant = [table.layers(variant.name) for variant in table.variants]
    layers = dict.fromkeys(name for layers in by_variant for name in layers)
    rows = [
        [name, *(f"{layers[name]:.3g}" if name in layers else ABSENT for layers in by_variant)]
        for name in layers
    ]
    return Grid(
        [table.study.by_layer.strip("/"), *(variant.name for variant in table.variants)], rows
    )


def _run_grid(table: ResultTable) -> Grid:
    columns = [c for c in table.study.columns if any(c.number in r.numbers for r in table.results)]
    rows = [
        [
            result.variant,
            str(result.seed),
            *(
                _single(result.numbers[c.number], c.spec) if c.number in result.numbers else ABSENT
                for c in columns
            ),
            duration(result.cost["whole"]),
        ]
        for result in table.results
    ]
    return Grid(["variant", "seed", *(column.title for column in columns), "time"], rows)


def _single(number: float, spec: str) -> str:
    """Return a number of one run as text."""
    return ("yes" if number else "no") if spec == COUNT_SPEC else format(number, spec)


def _machine(table: ResultTable) -> str:
    machines = {json.dumps(result.environment, sort_keys=True) for result in table.results}
    return "Software and machine: " + "; ".join(
        ", ".join(f"{key} {value}" for key, value in json.loads(machine).items())
        for machine in sorted(machines)
    )


def _as_csv(table: ResultTable) -> str:
    numbers = list(dict.fromkeys(name for r in table.results for name in r.numbers))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["variant", "seed", *(f"parameters of {n}" for n in NETWORK_NAMES), *numbers,
         "seconds per step", "seconds"]
    )  # fmt: skip
    for result in table.results:
        writer.writerow(
            [
                result.variant,
                result.seed,
                *(result.parameters.get(network, "") for network in NETWORK_NAMES),
                *(result.numbers.get(name, "") for name in numbers),
                result.cost["step"],
                result.cost["whole"],
            ]
        )
    return file.getvalue()


def study_summary(table: ResultTable) -> dict[str, Any]:
    """Return means and verdicts for other programs, without anything that depends on the machine.

    Returns:
        The contents of summary.json: "study", "confidence", "claims" (a list with "claim",
        "number", "variant", "against", "number against", "advantages", "mean", "interval",
        "over images", "bootstrap", "delta", "p" {"difference", "delta"}, "verdict",
        "seeds needed") and "variants" {variant: {number: {"mean", "values"}}}. Null are "interval"
        with one seed, "over images" if runs left nothing for it, and "seeds needed" of a claim
        that is decided.
    """
    return {
        "study": table.study.name,
        "confidence": CONFIDENCE,
        "claims": [
            {
                "claim": outcome.claim.sentence,
                "number": outcome.claim.number,
                "variant": outcome.claim.variant,
                "against": outcome.claim.against,
                "number against": outcome.claim.numbers[1],
                "advantages": outcome.advantage.values,
                "mean": outcome.advantage.mean,
                "interval": _finite(outcome.advantage.low, outcome.advantage.high),
                "over images": outcome.over_images,
                "bootstrap": outcome.advantage.bootstrap,
                "delta": outcome.delta,
                "p": {"difference": outcome.p_differs, "delta": outcome.p_small},
                "verdict": outcome.verdict,
                "seeds needed": outcome.seeds_needed,
            }
            for outcome in table.outcomes()
        ],
        "variants": {
            variant.name: {
                column.number: {"mean": statistics.mean, "values": statistics.values}
                for column in table.study.columns
                if (statistics := table.statistics(variant.name, column.number)) is not None
            }
            for variant in table.variants
        },
    }


def _finite(*ends: float) -> list[float] | None:
    return list(ends) if all(map(math.isfinite, ends)) else None
