"""Planned studies: the pilot, what is laid down, and looks that end a study early."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.metrics.features.network import DEFAULT_DISTANCE
from sagan.studies import engine
from sagan.studies.definitions.attention import STUDY
from sagan.studies.measure.cuts import CUTS
from sagan.studies.request import PilotRequest, StudyRequest, parse_deltas
from sagan.studies.run import RunMetrics, RunObserver, StudyData, StudyRun

ADVANTAGE = 0.2  # of attention-16 over none; distances are about 1
NOISE = 0.02  # standard deviation of a run
CalledStudy = Callable[..., list[str]]


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[StudyRun]:
    """The runs so far of a study with a known advantage and known noise."""
    runs: list[StudyRun] = []

    def perform(run: StudyRun, data: StudyData, observer: RunObserver) -> RunMetrics:
        runs.append(run)
        rng = np.random.default_rng([run.config.seed, len(run.variant)])
        without, distance, *cut = 1 + NOISE * rng.standard_normal(2 + len(CUTS))
        numbers = {DEFAULT_DISTANCE: without}
        if run.variant == "attention-16":
            numbers = {DEFAULT_DISTANCE: distance - ADVANTAGE}
            numbers |= {f"{DEFAULT_DISTANCE}{n}": v for n, v in zip(CUTS, cut, strict=True)}
        return RunMetrics(numbers, {}, {"generator": 1}, step_seconds=0.5)

    fake = replace(STUDY, perform=perform, prepare=lambda data, progress: None)
    monkeypatch.setitem(engine.STUDIES, STUDY.name, fake)
    # The figures of a report, which no test here looks at, take most of a study's time.
    monkeypatch.setattr("sagan.studies.analysis.report.drawn_figures", lambda table: ())
    return runs


@pytest.fixture
def study(labeled: PackedDataset, tmp_path: Path) -> CalledStudy:
    """study(plan=True or False, field=value of the request, ...) returns what was printed."""

    def call(*, plan: bool = False, delta: float | None = None, **asked: Any) -> list[str]:
        deltas = {"": delta} if delta is not None else {}
        request = StudyRequest(
            study=STUDY.name, data=str(labeled.path), out=tmp_path / "study", preset="smoke",
            settings={}, variants=["none", "attention-16"], seeds=None, steps=600,
            budget_minutes=None, jobs=1, pilot=PilotRequest(deltas, 8, None) if plan else None,
        )  # fmt: skip
        said: list[str] = []
        engine.run_study(replace(request, **asked), False, Console(quiet=True), said.append)
        return said

    return call


def recorded(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "study" / "study.json").read_text())
    return found


def test_a_plan_is_laid_down_from_short_runs_with_seeds_of_their_own(
    study, performed, tmp_path
) -> None:
    said = study(plan=True)
    assert {run.config.seed for run in performed} == set(range(1000, 1008))
    assert {run.config.steps for run in performed} == {60}
    plan = recorded(tmp_path)["plan"]
    assert plan["deltas"] == {DEFAULT_DISTANCE: 0.05}
    assert plan["claims"] == 3
    # sqrt(2) * NOISE, and with 7 degrees of freedom 1.35 times as much to be safe
    estimated = plan["deviations"][DEFAULT_DISTANCE]
    assert 0.4 < estimated / (np.sqrt(2) * NOISE) < 1.8
    assert plan["assumed"][DEFAULT_DISTANCE] == pytest.approx(1.353 * estimated, rel=1e-3)
    assert len(recorded(tmp_path)["runs"]) == 2 * plan["looks"][-1]
    text = "\n".join(said)
    assert f"{plan['looks'][-1]} seeds of 2 variants decide 1 claim about variants with 90%" in text
    assert "corrected for 3 claims in all" in text
    assert "core-hours" in text
    assert not (tmp_path / "study" / "results").exists()
    assert not (tmp_path / "study" / "pilot" / "runs").exists()


def test_a_plan_is_printed_again_without_another_pilot(study, performed) -> None:
    said = study(plan=True)
    performed.clear()
    assert study(plan=True)[-2:] == said[-2:]
    assert not performed
    with pytest.raises(SaganError, match=r"is planned with --delta KD-EfficientNet=0\.05"):
        study(plan=True, delta=0.1)


def test_a_plan_is_printed_without_its_pilots_results(study, performed, tmp_path) -> None:
    said = study(plan=True)
    shutil.rmtree(tmp_path / "study" / "pilot")
    *_, seeds, cost = study(plan=True)
    assert seeds == said[-2]
    assert said[-1].startswith(f"{cost}, about ")


def test_a_pilot_of_other_images_or_samples_is_not_taken_over(
    study, performed, tmp_path, unlabeled: PackedDataset
) -> None:
    for asked in ({}, {"samples": 50}, {"data": str(unlabeled.path)}):
        performed.clear()
        study(plan=True, **asked)
        assert len(performed) == 16
        (tmp_path / "study" / "study.json").unlink()  # as when planning is stopped at its end


def test_a_pilot_that_was_stopped_resumes(study, performed, tmp_path) -> None:
    study(plan=True)
    first = recorded(tmp_path)["plan"]
    (tmp_path / "study" / "study.json").unlink()
    (tmp_path / "study" / "pilot" / "results" / "none-seed1001.json").unlink()
    performed.clear()
    study(plan=True)
    assert [run.name for run in performed] == ["none-seed1001"]
    again = recorded(tmp_path)["plan"]
    assert {k: v for k, v in again.items() if k != "core_hours"} == {
        k: v for k, v in first.items() if k != "core_hours"
    }


def test_a_planned_study_ends_at_the_first_look_that_decides_everything(
    study, performed, tmp_path
) -> None:
    study(plan=True, delta=0.02)
    looks = recorded(tmp_path)["plan"]["looks"]
    assert len(looks) == 3
    performed.clear()
    said = study()
    assert {run.config.seed for run in performed} == set(range(looks[0]))
    assert f"every claim has its verdict after {looks[0]} seeds" in said
    claims = json.loads((tmp_path / "study" / "summary.json").read_text())["claims"]
    assert [claim["verdict"] for claim in claims] == ["supported"] * 3
    report = (tmp_path / "study" / "report.md").read_text()
    assert f"every claim is decided after {looks[0]}" in report
    performed.clear()
    study()
    assert not performed


def test_there_is_no_verdict_between_looks(study, performed, tmp_path) -> None:
    study(plan=True, delta=0.02)
    looks = recorded(tmp_path)["plan"]["looks"]
    study(seeds=looks[0] - 1)
    claim, *_ = json.loads((tmp_path / "study" / "summary.json").read_text())["claims"]
    assert claim["verdict"] == "undecided"
    assert claim["p"]["difference"] < 1e-3
    assert "so verdicts may change" in (tmp_path / "study" / "report.md").read_text()


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"seeds": 10_000}, "is planned for"),
        ({"variants": ["none", "attention-8"]}, "is planned without the variant 'attention-8'"),
    ],
)
def test_what_was_not_planned_is_refused(study, performed, asked, what) -> None:
    study(plan=True)
    with pytest.raises(SaganError, match=what):
        study(**asked)


def test_results_that_were_not_planned_are_refused(study, performed, tmp_path) -> None:
    study(plan=True)
    study(seeds=1)
    folder = tmp_path / "study" / "results"
    for name, variant, seed in (
        ("attention-8-seed0", "attention-8", 0),
        ("none-seed999", "none", 999),
    ):
        content = json.loads((folder / "none-seed0.json").read_text())
        content |= {"variant": variant, "seed": seed}
        (folder / f"{name}.json").write_text(json.dumps(content))
        with pytest.raises(SaganError, match=f"a result of {name}, which was not planned"):
            study(seeds=1)
        (folder / f"{name}.json").unlink()


def test_a_planned_variant_without_runs_is_missing_from_every_seed(
    study, performed, tmp_path
) -> None:
    study(plan=True)
    study(variants=["none"])
    assert "; 0 are done" in (tmp_path / "study" / "report.md").read_text()


def test_a_study_that_another_process_changes_before_it_begins_is_refused(
    study, performed, tmp_path, monkeypatch
) -> None:
    study(seeds=1)
    drafted = engine.draft_plan

    def draft(*arguments: Any) -> Any:
        plan = drafted(*arguments)
        record = recorded(tmp_path)
        text = json.dumps(record | {"commands": ["sagan study"]})
        (tmp_path / "study" / "study.json").write_text(text)
        return plan

    monkeypatch.setattr(engine, "draft_plan", draft)
    with pytest.raises(SaganError, match="another process has changed"):
        study(seeds=2)


def test_a_plan_after_the_first_result_is_refused(study, performed) -> None:
    study(seeds=1)
    with pytest.raises(SaganError, match="a plan comes before the first one"):
        study(plan=True)


@pytest.mark.parametrize("asked", [{"seeds": 3}, {"steps": None, "budget_minutes": 5.0}])
def test_a_plan_takes_no_number_of_seeds_and_no_budget(study, asked) -> None:
    with pytest.raises(SaganError, match="--plan decides the number of seeds"):
        study(plan=True, **asked)


def test_delta_is_laid_down_for_the_numbers_in_its_unit_and_no_others() -> None:
    parts, discriminator = engine.STUDIES["parts"], engine.STUDIES["discriminator"]
    assert parts.main_numbers == ("agreement",)
    assert len(discriminator.main_numbers) == 2  # both accuracies
    assert parts.sizes_of({}) == {}
    effects = parts.effects(parts.sizes_of({"": 0.1}))
    assert effects["agreement"].margin(0.5) == 0.1
    assert effects[DEFAULT_DISTANCE].margin(0.5) == 0.025  # a share, as before
    sizes = parts.sizes_of(parse_deltas(["0.1", f"{DEFAULT_DISTANCE}=0.2"]))
    assert sizes == {"agreement": 0.1, DEFAULT_DISTANCE: 0.2}


def test_all_runs_of_a_study_are_measured_on_as_many_samples(study, performed, tmp_path) -> None:
    study(seeds=1)
    assert {run.samples for run in performed} == {600 * performed[0].config.batch_size}
    with pytest.raises(SaganError, match="another number of samples of each run"):
        study(seeds=2, samples=500)
    performed.clear()
    study(seeds=1, samples=500, out=tmp_path / "fewer")
    study(seeds=2, out=tmp_path / "fewer")
    assert [run.samples for run in performed] == [500] * 4
    with pytest.raises(SaganError, match="measures 500 samples of each run"):
        study(seeds=3, samples=400, out=tmp_path / "fewer")
