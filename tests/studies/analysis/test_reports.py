"""Reports are made from results alone, are complete and self-contained, and check their input."""

import csv
import json
import re
from pathlib import Path

import pytest

from sagan.config import parse_config, resolve
from sagan.errors import SaganError
from sagan.metrics.features.network import DEFAULT_DISTANCE
from sagan.studies.analysis.report import write_reports
from sagan.studies.analysis.table import ResultTable, SeedBand
from sagan.studies.definitions import spectral_norm
from sagan.studies.definitions.attention import STUDY
from sagan.studies.plan import check_configurations, config_of
from sagan.studies.results import check_same_protocol, read_results, result_path, write_result
from sagan.studies.study import COMMON_SETTINGS, Chart

DISTANCES = {"none": [0.5, 0.6, 0.7], "attention-16": [0.41, 0.5, 0.61]}


@pytest.fixture
def reported(results, record, tmp_path: Path) -> Path:
    write_reports(STUDY, record, results(DISTANCES), tmp_path)
    return tmp_path


def test_both_reports_state_verdict_interval_parameters_cost_and_command(reported: Path) -> None:
    for name in ("report.html", "report.md"):
        text = (reported / name).read_text()
        for words in (
            "supported after 50 steps of 16 images", "+0.0933", "interval", "3 seeds", "1,000",
            "2,000",
            "0.6000 ±\u00a00.1000", "250\u00a0ms", "10:00", "sagan study attention --data photos",
            "attention at 16 x 16 in both networks", "torch 9.9",
        ):  # fmt: skip
            assert words in text, (name, words)


def test_the_page_is_self_contained_and_escapes_its_text(reported: Path) -> None:
    page = (reported / "report.html").read_text()
    assert "<b>photos</b>" not in page
    assert "&lt;b&gt;photos&lt;/b&gt;" in page
    assert not re.findall(r"<(?:script|link|img)|@import|url\((?!#)", page)
    assert page.count("<svg") == len(list((reported / "figures").glob("*.svg")))


def test_names_are_neither_html_nor_links_nor_the_end_of_a_block_in_the_markdown(
    results, record, tmp_path: Path
) -> None:
    data = record.data.model_copy(update={"source": "<img src=x> ![x](http://x) &lt;"})
    hostile = record.model_copy(update={"data": data, "commands": ["sagan study '\n```\n<b>'"]})
    write_reports(STUDY, hostile, results(DISTANCES), tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "<img" not in report
    assert "&lt;img src=x> !\\[x](http://x) &amp;lt;" in report
    assert "\n````\nsagan study '\n```\n<b>'\n````\n" in report


def test_every_figure_in_the_markdown_exists(reported: Path) -> None:
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (reported / "report.md").read_text())
    assert len(shown) >= 3
    for name in shown:
        assert (reported / name).read_text().startswith("<svg")


def test_csv_and_json_contain_the_numbers(reported: Path) -> None:
    with (reported / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["variant"], row["seed"]) for row in rows] == [
        (variant, str(seed)) for variant in DISTANCES for seed in range(3)
    ]
    assert [float(row[DEFAULT_DISTANCE]) for row in rows] == [
        *DISTANCES["none"],
        *DISTANCES["attention-16"],
    ]
    (claim,) = json.loads((reported / "summary.json").read_text())["claims"]
    assert claim["verdict"] == "supported"
    assert claim["advantages"] == pytest.approx([0.09, 0.1, 0.09])


def test_a_claim_within_runs_compares_two_numbers_of_each(result, record, tmp_path) -> None:
    """Pairs are of one run, so its cost counts once, and it has a figure of its own."""
    cut = f"{DEFAULT_DISTANCE} without attention"
    runs = [
        result("attention-16", seed, 1, numbers={DEFAULT_DISTANCE: 0.5, cut: distance})
        for seed, distance in enumerate((0.7, 0.8, 0.75))
    ]
    write_reports(STUDY, record, [*runs, result("none", 0, 0.6)], tmp_path)
    claims = json.loads((tmp_path / "summary.json").read_text())["claims"]
    (within,) = (claim for claim in claims if claim["variant"] == claim["against"])
    assert (within["number"], within["number against"]) == (DEFAULT_DISTANCE, cut)
    assert within["verdict"] == "supported"
    assert within["advantages"] == pytest.approx([0.2, 0.3, 0.25])
    report = (tmp_path / "report.md").read_text()
    assert "attention-16 over itself without attention" in report
    (outcome,) = (o for o in ResultTable(STUDY, runs).outcomes() if o.claim.is_within_runs)
    assert outcome.delta == pytest.approx(0.05 * 0.75)
    titles = re.findall(r"!\[([^\]]*)\]", report)
    assert sum("over the same runs with a cut" in title for title in titles) == 1


def test_the_same_results_give_the_same_reports(results, record, reported, tmp_path) -> None:
    again = tmp_path / "again"
    write_reports(STUDY, record, results(DISTANCES), again)
    for path in sorted(again.rglob("*.*")):
        assert path.read_bytes() == (reported / path.relative_to(again)).read_bytes(), path


def test_one_run_makes_a_report_without_a_verdict(results, record, tmp_path) -> None:
    write_reports(STUDY, record, results({"none": [0.5]}), tmp_path)
    assert "No claim can be assessed yet" in (tmp_path / "report.md").read_text()


def test_results_of_different_protocols_are_not_compared(result, tmp_path) -> None:
    few = {"protocol": {"samples": {"pictures": 5}}}
    with pytest.raises(SaganError, match="samples pictures: 10 and 5") as caught:
        check_same_protocol(tmp_path, [result("none", 0, 1), result("none", 1, 1, **few)])
    for name in ("none-seed0.json", "none-seed1.json"):
        assert name in str(caught.value)


def test_results_of_other_configurations_are_not_compared(results, result, record) -> None:
    """For example of a preset that has since changed, or copied from another study's folder."""
    common = resolve("smoke", COMMON_SETTINGS)
    record = record.model_copy(update={"config": common})
    ours = [
        result(v.name, seed, 1, config=config_of(v, seed, common))
        for v in STUDY.variants
        if v.name in DISTANCES
        for seed in (0, 1)
    ]
    check_configurations(STUDY, record, ours)
    own = ours[0].config
    for other in ({"lr_g": 0.5}, {"steps": own.steps + 1}, {"augment": "adaptive"}):
        of_another = result("none", 0, 1, config=parse_config(own.model_dump() | other))
        with pytest.raises(SaganError, match="none-seed0 has another configuration") as caught:
            check_configurations(STUDY, record, [*ours, of_another])
        assert "delete it" in str(caught.value)
    often = result("none", 0, 1, config=parse_config(own.model_dump() | {"log_every": 7}))
    check_configurations(STUDY, record, [often])
    with pytest.raises(SaganError, match="has no such variant"):
        check_configurations(STUDY, record, [result("attention-17", 0, 1)])


def test_a_report_says_that_runs_are_missing(results, record, tmp_path) -> None:
    runs = [f"{name}-seed{seed}" for name in DISTANCES for seed in range(4)]
    asked = record.model_copy(update={"runs": runs})
    write_reports(STUDY, asked, results(DISTANCES), tmp_path)
    for name in ("report.html", "report.md"):
        assert "2 of 8 runs; verdicts may change" in (tmp_path / name).read_text()


def test_a_diverged_training_does_not_hide_others_in_a_chart(result) -> None:
    chart = Chart("logits", "logits/real")
    curves = [[(1, 1.0), (2, 2.0), (3, 3.0)], [(1, 3.0)]]
    table = ResultTable(
        STUDY, [result("none", seed, 1, curves={"logits/real": c}) for seed, c in enumerate(curves)]
    )
    band = table.band("none", chart)
    assert band == SeedBand([1, 2, 3], [2.0, 2.0, 3.0], [1.0, 2.0, 3.0], [3.0, 2.0, 3.0])
    assert table.band("none", Chart("nothing", "gamma/*")) is None


def test_failures_are_counted_by_variant_and_yes_or_no_by_run(record, result, tmp_path) -> None:
    results = [
        result(name, seed, 1, study="spectral-norm", numbers={"failed": failed})
        for name, seed, failed in (
            ("none", 0, 1.0),
            ("none", 1, 1.0),
            ("both", 0, 0.0),
            ("both", 1, 1.0),
        )
    ]
    write_reports(spectral_norm.STUDY, record, results, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert re.search(r"\| none \|.*\| 2 of 2 \|", report)
    assert re.search(r"\| both \|.*\| 1 of 2 \|", report)
    assert re.search(r"\| both \| 0 \| no \|", report)


def test_a_page_breaks_lines_in_descriptions_only(reported: Path) -> None:
    page = (reported / "report.html").read_text()
    assert '<td class="prose">attention at 16 x 16 in both networks</td>' in page
    assert set(re.findall(r'<td class="prose">([^<]*)</td>', page)) == {
        variant.title for variant in STUDY.variants if variant.name in DISTANCES
    }


def test_a_result_without_its_cost_is_refused_in_one_line(result, tmp_path) -> None:
    write_result(tmp_path, "none-seed0", result("none", 0, 0.125))
    path = result_path(tmp_path, "none-seed0")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cost": {"step": 1.0}}))
    with pytest.raises(SaganError, match="cost: Dictionary should have at least 2 items"):
        read_results(tmp_path, STUDY.name)


def test_a_result_is_read_back_as_it_was_written(result, tmp_path) -> None:
    written = result("none", 3, 0.125)
    write_result(tmp_path, "none-seed3", written)
    assert read_results(tmp_path, STUDY.name) == [written]


def test_a_misplaced_result_is_refused_by_name(result, tmp_path) -> None:
    write_result(tmp_path, "none-seed4", result("none", 3, 0.125))
    with pytest.raises(SaganError, match=r"none-seed4.* attention, none, seed 3"):
        read_results(tmp_path, STUDY.name)
    result_path(tmp_path, "none-seed4").rename(result_path(tmp_path, "none-seed3"))
    with pytest.raises(SaganError, match="of the study attention"):
        read_results(tmp_path, "discriminator")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 2}', b"\xff" * 9, b"[" * 100_000])
def test_a_damaged_result_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = result_path(tmp_path, "none-seed0")
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(SaganError, match="delete it to run it again") as caught:
        read_results(tmp_path, STUDY.name)
    assert len(str(caught.value).splitlines()) == 1
