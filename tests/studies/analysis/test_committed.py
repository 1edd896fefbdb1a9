"""The committed reports follow from the committed results, by the code as it is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sagan.studies.analysis.report import sentence, study_summary
from sagan.studies.analysis.table import ResultTable
from sagan.studies.definitions import STUDIES
from sagan.studies.plan import check_configurations
from sagan.studies.record import read_record
from sagan.studies.results import check_same_protocol, read_results

STUDIES_FOLDER = Path(__file__).parents[3] / "docs" / "studies"
# A study that is only planned has no reports.
COMMITTED = sorted(summary.parent.name for summary in STUDIES_FOLDER.glob("*/summary.json"))


def compared(found: Any, committed: Any) -> None:
    """Compare two JSON documents: numbers to rounding, everything else exactly."""
    if isinstance(found, dict):
        assert list(found) == list(committed)
        for key, value in found.items():
            compared(value, committed[key])
    elif isinstance(found, list):
        assert len(found) == len(committed)
        for one, other in zip(found, committed, strict=True):
            compared(one, other)
    elif isinstance(found, float):
        assert found == pytest.approx(committed, rel=1e-9, abs=1e-12)
    else:
        assert found == committed


def test_the_studies_of_the_documentation_are_found() -> None:
    assert {"attention", "attention-cifar10", "discriminator", "spectral-norm"} <= set(COMMITTED)


@pytest.mark.parametrize("name", COMMITTED)
def test_summary_and_report_follow_from_the_results(name: str) -> None:
    folder = STUDIES_FOLDER / name
    record = read_record(folder)
    assert record is not None
    study = STUDIES[record.study]
    results = read_results(folder, study.name)
    check_same_protocol(folder, results)
    check_configurations(study, record, results)
    table = ResultTable(study, results, record.plan)
    committed = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    compared(json.loads(json.dumps(study_summary(table))), committed)
    report = (folder / "report.md").read_text(encoding="utf-8").replace("**", "")
    for outcome in table.outcomes():
        assert sentence(outcome, record.config) in report


def shown(claim: dict[str, Any]) -> str:
    """A claim's cells of the summary page: verdict, advantage and interval, delta, seeds."""
    mean, (low, high) = claim["mean"], claim["interval"]
    if claim["number"].startswith("accuracy"):
        mean, low, high = (100 * value for value in (mean, low, high))
        found = f"{mean:+.1f} points ({low:+.1f} to {high:+.1f}) | {100 * claim['delta']:.0f} point"
    else:
        found = f"{mean:+.4f} ({low:+.4f} to {high:+.4f}) | {claim['delta']:.3f}"
    return f"{found} | {len(claim['advantages'])} |"


def test_the_summary_page_says_what_the_studies_found() -> None:
    page = (STUDIES_FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[[^]]*\]\(([^/]+)/report\.md\) \|.*$", page, re.MULTILINE)
    assert set(rows) == set(COMMITTED)
    for name in COMMITTED:
        claims = json.loads((STUDIES_FOLDER / name / "summary.json").read_text("utf-8"))["claims"]
        known = [(f"| {claim['verdict']} |", shown(claim)) for claim in claims]
        for line in page.splitlines():
            if f"({name}/report.md)" in line:
                assert any(verdict in line and cells in line for verdict, cells in known), line


@pytest.mark.parametrize("name", COMMITTED)
def test_every_committed_figure_is_shown_and_every_shown_figure_is_committed(name: str) -> None:
    folder = STUDIES_FOLDER / name
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (folder / "report.md").read_text("utf-8"))
    assert sorted(shown) == sorted(f"figures/{path.name}" for path in folder.glob("figures/*"))
