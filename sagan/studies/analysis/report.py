"""A study's reports, made from study.json and the results alone."""

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sagan.config import Config
from sagan.display import duration
from sagan.report.document import (
    FIGURES,
    BulletList,
    Code,
    Figure,
    Grid,
    Heading,
    Part,
    Text,
    as_html,
    as_markdown,
)
from sagan.storage.files import to_json, write_bytes
from sagan.studies.analysis.figures import drawn_figures
from sagan.studies.analysis.intervals import CONFIDENCE, RESAMPLES
from sagan.studies.analysis.table import Finding, Spread, Table
from sagan.studies.plan import StudyRecord
from sagan.studies.results import Result
from sagan.studies.run import Network
from sagan.studies.study import COUNTED, Study

ABSENT, TOGETHER = "—", "\u00a0"  # a space at which no line breaks
WHAT = "what it is"  # heading of the descriptions
NETWORKS: tuple[Network, ...] = ("generator", "discriminator")


def write_reports(
    study: Study, record: StudyRecord, results: list[Result], out: Path
) -> list[Path]:
    """Write report.html, report.md with its figures, results.csv and summary.json.

    Args:
        study: which one.
        record: what all runs share.
        results: of its runs; none is needed of any other.
        out: the study's folder.

    Returns:
        The files that were written; of the figures only their folder.
    """
    table = Table(study, results)
    title = f"Study: {study.name}"
    parts = list(_parts(table, record))
    pictures = [part for part in parts if isinstance(part, Figure)]
    for picture in pictures:
        write_bytes(out / FIGURES / picture.file, picture.svg.encode())
    contents = {
        "report.html": as_html(title, parts).encode(),
        "report.md": as_markdown(title, parts).encode(),
        "results.csv": _as_csv(table).encode(),
        "summary.json": to_json(_summary(table)),
    }
    for name, content in contents.items():
        write_bytes(out / name, content)
    return [out / name for name in (FIGURES, *contents)]


def _parts(table: Table, record: StudyRecord) -> Iterator[Part]:
    findings = table.findings()
    missing = set(record.runs) - {result.name for result in table.results}
    yield Text(table.study.question)
    if missing:
        yield BulletList(
            [f"not done yet: {len(missing)} of {len(record.runs)} runs; verdicts may change"]
        )
    yield Text(_lead(table, record))
    yield Heading("What was found")
    if findings:
        yield BulletList([sentence(finding, record.config) for finding in findings])
    yield Text(_reading(findings))
    yield Heading("The variants")
    yield _variant_grid(table)
    for title, svg in drawn_figures(table):
        yield Figure(title, svg)
    if findings:
        yield Heading("The differences")
        yield _difference_grid(findings)
    if table.study.by_layer:
        yield Heading("By layer, at the end")
        yield _layer_grid(table)
    yield Heading("Every run")
    yield _run_grid(table)
    yield Heading("How it was made")
    yield from map(Text, table.study.notes)
    yield Code("\n".join(record.commands))
    yield Text(_machine(table))
    yield Heading("What the numbers hold under")
    yield Code(json.dumps(table.results[0].protocol, indent=1))


def _lead(table: Table, record: StudyRecord) -> str:
    config = record.config
    seconds = sum(result.cost["whole"] for result in table.results)
    return (
        f"{len(table.results)} runs of {len(table.variants)} variants; preset {record.preset}, "
        f"{config.steps:,} steps of {config.batch_size} pictures, on "
        f"{record.data.train.pictures:,} pictures of {record.data.source} at "
        f"{config.resolution} x {config.resolution}, "
        f"{'conditional' if config.conditional else 'unconditional'}. The runs took "
        f"{duration(seconds)} of a process, added up; they are equal in steps, and variants differ "
        "in the time of a step, which was measured beside other runs where --jobs says so."
    )


def sentence(finding: Finding, config: Config) -> str:
    """What may be said of a claim: the verdict, how long was trained, the claim, the interval."""
    advantage, claim = finding.advantage, finding.claim
    seeds = len(advantage.values)
    spread = "one seed tells nothing of the spread"
    if seeds > 1:
        spread = (
            f"{CONFIDENCE:.0%} interval {advantage.low:+.3g} to {advantage.high:+.3g}, "
            f"{seeds} seeds"
        )
    return (
        f"{finding.verdict} after {config.steps:,} steps of {config.batch_size} pictures: "
        f"{claim.sentence}. Advantage in {claim.number} "
        f"({claim.better} is better): {advantage.mean:+.3g} ({spread})."
    )


def _reading(findings: list[Finding]) -> str:
    if not findings:
        return "No claim can be looked at yet: none has both of its variants with the same seed."
    return (
        "A claim is called supported where the interval of the mean advantage lies above 0, not "
        "supported where it lies below, else undecided. Runs are paired by seed; the interval is "
        f"Student's. Where nothing differs {(1 - CONFIDENCE) / 2:.1%} are called supported; "
        "intervals are not widened for the number of claims. This holds for a number of seeds that "
        "was chosen before the first result was seen."
    )


def _variant_grid(table: Table) -> Grid:
    columns = [
        column
        for column in table.study.columns
        if not column.of_runs
        and any(table.spread(variant.name, column.number) for variant in table.variants)
    ]
    headings = ["variant", WHAT, "runs", "parameters of G", "of D", *(c.title for c in columns)]
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
                *(_spread(table.spread(variant.name, c.number), c.spec) for c in columns),
                f"{1000 * step:.0f}{TOGETHER}ms" if step else ABSENT,
            ]
        )
    return Grid([*headings, "time per step"], rows, prose=WHAT)


def _parameters(run: Result) -> list[str]:
    counts = [run.parameters.get(network) for network in NETWORKS]
    return [ABSENT if count is None else f"{count:,}" for count in counts]


def _spread(spread: Spread | None, spec: str) -> str:
    """Mean and standard deviation over seeds; or how many of them."""
    if spread is None:
        return ABSENT
    if spec == COUNTED:
        return f"{sum(spread.values.values()):.0f} of {len(spread.values)}"
    if math.isnan(spread.deviation) or spread.deviation == 0:
        return format(spread.mean, spec)
    return f"{spread.mean:{spec}} ±{TOGETHER}{spread.deviation:{spec}}"


def _difference_grid(findings: list[Finding]) -> Grid:
    rows = []
    for finding in findings:
        advantage, claim = finding.advantage, finding.claim
        low, high = advantage.bootstrap
        rows.append(
            [
                f"{claim.variant} over {claim.against}",
                finding.verdict,
                claim.number,
                f"{advantage.mean:+.3g}",
                f"{advantage.low:+.3g} to {advantage.high:+.3g}",
                ", ".join(f"{value:+.3g}" for value in advantage.values),
                f"{low:+.3g} to {high:+.3g}",
            ]
        )
    return Grid(
        ["advantage of", "verdict", "in", "mean", f"Student, {CONFIDENCE:.0%}", "by seed",
         f"bootstrap, {RESAMPLES:,} resamples"],
        rows,
    )  # fmt: skip


def _layer_grid(table: Table) -> Grid:
    by_variant = [table.layers(variant.name) for variant in table.variants]
    layers = dict.fromkeys(name for layers in by_variant for name in layers)
    rows = [
        [name, *(f"{layers[name]:.3g}" if name in layers else ABSENT for layers in by_variant)]
        for name in layers
    ]
    return Grid(
        [table.study.by_layer.strip("/"), *(variant.name for variant in table.variants)], rows
    )


def _run_grid(table: Table) -> Grid:
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
    return Grid(["variant", "seed", *(column.title for column in columns), "took"], rows)


def _single(number: float, spec: str) -> str:
    """A number of one run."""
    return ("yes" if number else "no") if spec == COUNTED else format(number, spec)


def _machine(table: Table) -> str:
    machines = {json.dumps(result.environment, sort_keys=True) for result in table.results}
    return "Software and machine: " + "; ".join(
        ", ".join(f"{key} {value}" for key, value in json.loads(machine).items())
        for machine in sorted(machines)
    )


def _as_csv(table: Table) -> str:
    numbers = list(dict.fromkeys(name for r in table.results for name in r.numbers))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["variant", "seed", *(f"parameters of {n}" for n in NETWORKS), *numbers, "seconds per step",
         "seconds"]
    )  # fmt: skip
    for result in table.results:
        writer.writerow(
            [
                result.variant,
                result.seed,
                *(result.parameters.get(network, "") for network in NETWORKS),
                *(result.numbers.get(name, "") for name in numbers),
                result.cost["step"],
                result.cost["whole"],
            ]
        )
    return file.getvalue()


def _summary(table: Table) -> dict[str, Any]:
    """Means and verdicts, for other programs; nothing that differs from machine to machine."""
    return {
        "study": table.study.name,
        "confidence": CONFIDENCE,
        "claims": [
            {
                "claim": finding.claim.sentence,
                "number": finding.claim.number,
                "variant": finding.claim.variant,
                "against": finding.claim.against,
                "advantages": finding.advantage.values,
                "mean": finding.advantage.mean,
                "interval": _finite(finding.advantage.low, finding.advantage.high),
                "bootstrap": finding.advantage.bootstrap,
                "verdict": finding.verdict,
            }
            for finding in table.findings()
        ],
        "variants": {
            variant.name: {
                column.number: {"mean": spread.mean, "values": spread.values}
                for column in table.study.columns
                if (spread := table.spread(variant.name, column.number)) is not None
            }
            for variant in table.variants
        },
    }


def _finite(*ends: float) -> list[float] | None:
    return list(ends) if all(map(math.isfinite, ends)) else None
