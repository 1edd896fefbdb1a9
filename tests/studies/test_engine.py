"""The engine, with a study that trains nothing: which runs it does, keeps, and repeats."""

import json
import math
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from sagan.config import resolve
from sagan.data import PackedDataset, open_source, pack
from sagan.errors import SaganError
from sagan.metrics.features.network import DEFAULT_DISTANCE
from sagan.nn import precision
from sagan.presets import PRESETS
from sagan.studies import engine, workers
from sagan.studies.budget import MIN_STEPS, USABLE_SHARE, Cost, affordable_steps
from sagan.studies.definitions.attention import STUDY
from sagan.studies.request import StudyRequest
from sagan.studies.results import make_result
from sagan.studies.run import RunMetrics, RunObserver, StudyData, StudyRun
from sagan.studies.study import Study

RunStudy = Callable[..., list[str]]
DEFAULT = ["none", "residual-16", "attention-8", "attention-16"]


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[StudyRun]:
    """The runs so far; attention-16 is better than none by 0.92 and 0.84 with seeds 0 and 1."""
    runs: list[StudyRun] = []

    def perform(run: StudyRun, data: StudyData, observer: RunObserver) -> RunMetrics:
        runs.append(run)
        seed, name = run.config.seed, run.name
        distance = 5.0 * seed + 0.01 * (1 + seed) * len(name) - (run.variant == "attention-16")
        return RunMetrics({DEFAULT_DISTANCE: distance}, {}, {"generator": 1}, step_seconds=0.5)

    fake = replace(STUDY, perform=perform, prepare=lambda data, progress: None)
    monkeypatch.setitem(engine.STUDIES, STUDY.name, fake)
    # The figures of a report, which no test here looks at, take most of a study's time.
    monkeypatch.setattr("sagan.studies.analysis.report.drawn_figures", lambda table: ())
    return runs


@pytest.fixture
def run_study(labeled: PackedDataset, tmp_path: Path) -> RunStudy:
    """run_study(field=value of a request, ...) returns the lines that were printed."""

    def call(*, dry_run: bool = False, **asked: Any) -> list[str]:
        request = StudyRequest(
            study=STUDY.name, data=str(labeled.path), out=tmp_path / "study", preset="smoke",
            settings={}, variants=(), seeds=2, steps=20, budget_minutes=None, jobs=1,
        )  # fmt: skip
        said: list[str] = []
        engine.run_study(replace(request, **asked), dry_run, Console(quiet=True), said.append)
        return said

    return call


def breaking_after(number: int, performed: list[StudyRun]) -> Study:
    """Return the study with a Ctrl-C after this number of runs."""
    study = engine.STUDIES[STUDY.name]

    def perform(run: StudyRun, data: StudyData, observer: RunObserver) -> RunMetrics:
        if len(performed) == number:
            raise KeyboardInterrupt
        return study.perform(run, data, observer)

    return replace(study, perform=perform)


def names(runs: list[StudyRun]) -> list[str]:
    return [run.name for run in runs]


def claims(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found = json.loads((folder / "summary.json").read_text())["claims"]
    return {(claim["variant"], claim["against"]): claim for claim in found}


def test_all_variants_of_a_seed_come_before_the_next_seed(run_study, performed) -> None:
    run_study()
    assert names(performed) == [f"{name}-seed{seed}" for seed in (0, 1) for name in DEFAULT]
    assert {run.config.steps for run in performed} == {20}
    assert {run.config.conditional for run in performed} == {True}
    assert [run.config.attention_g for run in performed[:4]] == [(), (16,), (8,), (16,)]
    assert [run.config.attention_block for run in performed[:4]] == [
        "attention", "residual", "attention", "attention",
    ]  # fmt: skip


def test_a_known_difference_leads_to_a_supported_claim(run_study, performed, tmp_path) -> None:
    run_study(seeds=3)
    found = claims(tmp_path / "study")
    assert found["attention-16", "none"]["verdict"] == "supported"
    assert found["attention-16", "none"]["mean"] == pytest.approx(0.84)


def test_an_interrupted_study_does_only_the_runs_without_a_result(
    run_study, performed, tmp_path, monkeypatch
) -> None:
    run_study()
    whole = {p.name: p.read_text() for p in (tmp_path / "study").glob("summary*")}
    fake = engine.STUDIES[STUDY.name]
    performed.clear()
    monkeypatch.setitem(engine.STUDIES, STUDY.name, breaking_after(3, performed))
    with pytest.raises(KeyboardInterrupt):
        run_study(out=tmp_path / "broken")
    monkeypatch.setitem(engine.STUDIES, STUDY.name, fake)
    run_study(out=tmp_path / "broken")
    assert sorted(names(performed)) == sorted(f"{n}-seed{s}" for n in DEFAULT for s in (0, 1))
    assert {p.name: p.read_text() for p in (tmp_path / "broken").glob("summary*")} == whole


def test_seeds_and_variants_can_be_added_later(run_study, performed, tmp_path) -> None:
    run_study(seeds=1, steps=33)
    performed.clear()
    run_study(seeds=2, steps=None, variants=["none", "full-16"])
    assert names(performed) == ["full-16-seed0", "none-seed1", "full-16-seed1"]
    assert {run.config.steps for run in performed} == {33}
    commands = json.loads((tmp_path / "study" / "study.json").read_text())["commands"]
    assert [("--variants none,full-16" in line) for line in commands] == [False, True]


def test_a_finished_study_is_reported_from_its_results_without_the_data(
    run_study, performed, tmp_path
) -> None:
    run_study()
    performed.clear()
    page = (tmp_path / "study" / "report.md").read_bytes()
    (tmp_path / "study" / "report.md").unlink()
    run_study(data="gone.zip")
    assert not performed
    assert (tmp_path / "study" / "report.md").read_bytes() == page


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"steps": 21}, "steps was 20 and is now 21"),
        ({"settings": {"lr_g": 0.5}}, "lr_g was 0.0002 and is now 0.5"),
        ({"preset": "cpu-32"}, "latent_size was 32 and is now 128"),
        ({"variants": ["none", "big"]}, "has no variant 'big': there are none, residual-8"),
        ({"settings": {"attention_g": (8,)}}, "every variant has its own attention_g"),
        (
            {"settings": {"attention_block": "residual"}},
            "in this study attention_block is attention",
        ),
        ({"settings": {"attention_form": "full"}}, "in this study attention_form is pooled"),
        ({"settings": {"seed": 3}}, "--set seed has no effect here: use --seeds"),
        ({"settings": {"steps": 3}}, "--set steps has no effect here: use --steps"),
        ({"settings": {"minutes": 3.0}}, "all runs of a study have equal steps"),
        ({"settings": {"augment": "adaptive"}}, "augment=adaptive would differ between variants"),
        ({"variants": ["attention-32"]}, "variant attention-32: attention_d has no feature map"),
    ],
)
def test_another_configuration_in_the_same_folder_is_refused_in_one_line(
    run_study, performed, asked, what
) -> None:
    run_study(seeds=1)
    with pytest.raises(SaganError) as caught:
        run_study(**asked)
    assert what in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_same_images_may_move_and_other_images_are_refused(
    run_study, performed, labeled, tmp_path
) -> None:
    run_study(seeds=1)
    moved = shutil.copytree(labeled.path, tmp_path / "moved")
    run_study(seeds=2, data=str(moved))
    assert len(performed) == 8
    folder = tmp_path / "few"
    for i in range(2):
        for name in labeled.classes:
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(labeled.images[i]).save(folder / name / f"{i}.png")
    packed = pack(open_source(str(folder)), tmp_path / "packed", labeled.size)
    with pytest.raises(SaganError, match="contains a study of other images"):
        run_study(seeds=3, data=str(packed.path))


@pytest.mark.parametrize("left", ["results", "runs"])
def test_results_and_runs_of_an_unknown_study_are_refused(
    run_study, performed, tmp_path, left
) -> None:
    run_study(seeds=1)
    (tmp_path / "study" / "runs").mkdir(exist_ok=True)
    (tmp_path / "study" / "study.json").unlink()
    for other in {"results", "runs"} - {left}:
        shutil.rmtree(tmp_path / "study" / other)
    with pytest.raises(SaganError, match=f"contains {left} but no study.json"):
        run_study(seeds=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {}, "data": {}},
        {"data": {"size": 32, "classes": 3, "train": {"fingerprint": "0", "pictures": 9}}},
        {"config": {"steps": "many"}},
        {"config": {"steps": 20, "no such setting": 1}},
        {"data": {"source": "x", "train": [1]}},
        {"data": {"source": "x", "train": {"pictures": "many"}}},
    ],
)
def test_a_damaged_study_json_is_reported_in_one_line(
    run_study, performed, tmp_path, changes
) -> None:
    run_study(seeds=1)
    path = tmp_path / "study" / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SaganError, match=r"study\.json' is damaged") as caught:
        run_study(seeds=1, steps=None)
    assert len(str(caught.value).splitlines()) == 1


def test_images_without_labels_cannot_resume_a_study_of_labeled_ones(
    run_study, performed, unlabeled
) -> None:
    run_study(seeds=1)
    with pytest.raises(SaganError, match="conditional was True and is now False"):
        run_study(seeds=2, data=str(unlabeled.path))


def test_a_dry_run_prints_the_cost_and_leaves_no_files(run_study, performed, tmp_path) -> None:
    said = run_study(dry_run=True, steps=600)
    assert not (tmp_path / "study").exists()
    assert {run.config.steps for run in performed} == {24}
    # 8 runs of 600 steps of half a second each
    assert "8 runs of 600 steps: about 40:00 in all" in said[-1]
    assert sum("seeds 0, 1" in line for line in said) == 4


def test_a_result_that_cannot_be_reported_is_refused_before_any_run(
    run_study, performed, tmp_path
) -> None:
    run_study(seeds=1)
    performed.clear()
    path = tmp_path / "study" / "results" / "none-seed0.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"config": content["config"] | {"steps": 9999}}))
    with pytest.raises(SaganError, match="steps was 20 and is now 9999"):
        run_study(seeds=2)
    assert not performed


def test_a_result_of_other_images_is_refused(run_study, performed, tmp_path) -> None:
    run_study(seeds=1)
    path = tmp_path / "study" / "results" / "none-seed0.json"
    content = json.loads(path.read_text())
    content["protocol"] = {"quality": {"reference": {"fingerprint": "of others"}}}
    path.write_text(json.dumps(content))
    with pytest.raises(SaganError, match="none-seed0 was measured on other images"):
        run_study(seeds=2)


def test_blocks_of_which_one_has_no_number_are_left_out_of_a_result() -> None:
    run = StudyRun(STUDY.name, "none", resolve("smoke"), "smoke", Path())
    blocks = {"agreement": [0.1, math.nan], DEFAULT_DISTANCE: [0.1, 0.2]}
    metrics = RunMetrics({}, {}, {}, step_seconds=0.0, blocks=blocks)
    assert make_result(run, metrics, 1.0, 1.0, {}).blocks == {DEFAULT_DISTANCE: [0.1, 0.2]}


def test_all_runs_have_the_precision_of_the_machine_that_began_the_study(
    run_study, performed, tmp_path, monkeypatch
) -> None:
    for native in (False, True):  # the study resumes on a machine with bfloat16
        monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _, native=native: native)
        run_study(seeds=1 + native)
    assert {run.config.precision for run in performed} == {"float32"}
    assert json.loads((tmp_path / "study" / "study.json").read_text())["runs"] == names(performed)


@pytest.mark.parametrize(("preset", "augment"), [("classic-32", 0.0), ("cpu-32", 1.0)])
def test_a_study_keeps_augmentation_that_does_not_adapt(
    run_study, performed, preset, augment
) -> None:
    run_study(preset=preset, seeds=1, variants=["none", "g-16"])
    assert {run.config.augment for run in performed} == {augment}


def test_a_launcher_is_refused(run_study, performed, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SaganError, match="give --jobs"):
        run_study()


def test_a_budget_chooses_the_steps_only_once(run_study, performed, tmp_path) -> None:
    run_study(steps=None, budget_minutes=10)
    chosen = {run.config.steps for run in performed if run.config.steps != 24}
    # 95% of ten minutes for 8 runs of half a second per step, less the time for probing
    (steps,) = chosen
    assert 130 <= steps <= 142
    performed.clear()
    run_study(steps=None, budget_minutes=1, seeds=3)
    assert {run.config.steps for run in performed} == {steps}
    assert len(performed) == 4


def test_a_study_keeps_its_preset_as_it_was_when_it_began(
    run_study, performed, monkeypatch
) -> None:
    run_study(seeds=1)
    changed = PRESETS["smoke"].model_copy(
        update={"settings": PRESETS["smoke"].settings | {"lr_g": 0.5}}
    )
    monkeypatch.setitem(PRESETS, "smoke", changed)
    run_study(seeds=2)
    assert {run.config.lr_g for run in performed} == {2e-4}


def test_a_study_that_is_stopped_reports_its_results_so_far(
    run_study, performed, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(engine.STUDIES, STUDY.name, breaking_after(2, performed))
    with pytest.raises(KeyboardInterrupt):
        run_study()
    report = (tmp_path / "study" / "report.md").read_text()
    assert "| none |" in report
    assert "| residual-16 |" in report


@pytest.mark.parametrize("error", [SaganError("no such thing"), ZeroDivisionError("a mistake")])
def test_results_of_runs_beside_a_failing_one_are_kept(
    labeled: PackedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    begun, failing = [], threading.Event()

    def execute(run: StudyRun, paths: object) -> str:
        begun.append(run.variant)
        if run.variant == "fails":
            failing.set()
            raise error
        failing.wait(10)
        time.sleep(0.1)
        return run.variant

    monkeypatch.setattr(workers, "_execute_in_worker", execute)
    monkeypatch.setattr(workers, "ProcessPoolExecutor", lambda jobs, *_: ThreadPoolExecutor(jobs))
    runs = [
        StudyRun(STUDY.name, name, resolve("smoke"), "smoke", tmp_path)
        for name in ("works", "fails", "waits")
    ]
    ended = workers.run_in_parallel(runs, StudyData({"train": labeled}), jobs=2)
    assert next(ended) == (runs[0], "works")
    with pytest.raises(type(error), match=str(error)):
        next(ended)
    assert sorted(begun) == ["fails", "works"]


def test_a_budget_is_kept_and_used() -> None:
    costs = [Cost(step=0.3, rest=60), Cost(step=0.25, rest=90), Cost(step=0, rest=30)]
    steps = affordable_steps(costs, seconds=3600, jobs=1)
    assert sum(cost.seconds(steps) for cost in costs) <= USABLE_SHARE * 3600
    assert sum(cost.seconds(steps + 1) for cost in costs) > USABLE_SHARE * 3600


@pytest.mark.parametrize("jobs", [2, 4, 8, 16])
@pytest.mark.parametrize("runs", [1, 9, 12])
def test_a_budget_is_kept_with_several_jobs(runs: int, jobs: int) -> None:
    """A run starts as soon as a worker is free; in the last round, some workers may be idle."""
    cost = Cost(step=0.3, rest=60)

    def ends(steps: int) -> float:
        workers = [0.0] * jobs
        for _ in range(runs):
            workers[workers.index(min(workers))] += cost.seconds(steps)
        return max(workers)

    steps = affordable_steps([cost] * runs, seconds=3600, jobs=jobs)
    assert ends(steps) <= USABLE_SHARE * 3600 < ends(steps + 1)


def test_too_small_a_budget_is_refused_with_the_minutes_needed() -> None:
    costs = [Cost(step=0.3, rest=60)] * 6
    with pytest.raises(SaganError, match=r"6 runs of 10 steps need 6\.6"):
        affordable_steps(costs, seconds=60, jobs=1)
    with pytest.raises(SaganError, match="none of these runs trains"):
        affordable_steps([Cost(step=0, rest=1)], seconds=60, jobs=1)
    least = 60 * 6.7
    assert affordable_steps(costs, seconds=least, jobs=1) >= MIN_STEPS


def test_no_budget_gives_more_steps_than_a_configuration_may_have() -> None:
    costs = [Cost(step=0.3, rest=60)]
    assert affordable_steps(costs, seconds=1e300, jobs=1) == 10**9
    assert affordable_steps(costs, seconds=math.inf, jobs=1) == 10**9


@pytest.mark.parametrize(
    ("runs", "cores", "gib", "jobs"), [(8, 4, 64, 4), (3, 4, 64, 3), (8, 4, 10, 2), (8, 4, 2, 1)]
)
def test_a_run_at_a_time_for_each_core_as_far_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch, runs: int, cores: int, gib: int, jobs: int
) -> None:
    monkeypatch.setattr(workers.torch, "get_num_threads", lambda: cores)
    memory = SimpleNamespace(total=gib << 30)
    monkeypatch.setattr(workers.psutil, "virtual_memory", lambda: memory)
    assert workers.suitable_jobs(runs) == jobs


def test_no_more_samples_are_measured_than_a_run_sees_images(run_study, performed) -> None:
    run_study(seeds=1, steps=20)
    assert {run.samples for run in performed} == {20 * 16}


def test_a_probe_measures_as_many_samples_as_the_runs_it_stands_for(run_study, performed) -> None:
    run_study(dry_run=True, steps=600)
    assert {(run.config.steps, run.samples) for run in performed} == {(24, 9600)}
