"""A plan takes the recipe that a machine's speed allows for."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sagan.data import PackedDataset, open_source, pack
from sagan.presets import LADDERS, PRESETS
from sagan.training import time_plan
from sagan.training.session import Session, prepare_session
from sagan.training.time_plan import estimate_training, make_plan

TINY = {"channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 4}


def timed(monkeypatch: pytest.MonkeyPatch, **step_seconds: float) -> list[str]:
    """Make each preset's steps take so long; return the list that the timed ones are put into."""
    found: list[str] = []

    def estimate(description: Any, *_: object) -> object:
        found.append(description.preset)
        return SimpleNamespace(step_seconds=step_seconds[description.preset.replace("-", "_")])

    monkeypatch.setattr(time_plan, "estimate_training", estimate)
    return found


def prepare(dataset: PackedDataset, run: Path, preset: str | None, **more: Any) -> Session:
    return prepare_session(str(dataset.path), run, preset, more, notify=lambda _: None)


@pytest.mark.parametrize(
    ("minutes", "expected", "tried"),
    [
        (2, "demo-32", ["demo-32"]),
        (5, "demo-32", ["demo-32", "cpu-32"]),
        (60, "cpu-32", ["demo-32", "cpu-32"]),
    ],
)
def test_more_time_gives_a_dearer_recipe(
    minutes: float, expected: str, tried: list[str], labeled: PackedDataset,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    found = timed(monkeypatch, demo_32=0.15, cpu_32=0.6)
    said: list[str] = []
    session = make_plan(prepare(labeled, tmp_path / "run", None, minutes=minutes), said.append)
    config = session.description.config
    assert (session.description.preset, found, session.plan) == (expected, tried, None)
    assert said == [f"plan: {expected}, {config.steps:,} steps in {minutes:g} minutes"]
    step_seconds = {"demo-32": 0.15, "cpu-32": 0.6}[expected]
    assert 0.85 < config.steps * step_seconds / (60 * minutes) < 1
    assert config.conditional
    assert config.lr_decay == 0.5
    assert config.sample_every * min(40, minutes) <= config.steps


def test_the_preset_that_is_asked_for_is_kept(
    labeled: PackedDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    timed(monkeypatch, cpu_32=0.6)
    session = make_plan(prepare(labeled, tmp_path / "run", "cpu-32", minutes=5.0), print)
    assert session.description.preset == "cpu-32"
    assert 400 < session.description.config.steps < 500


def test_settings_that_are_given_are_kept(
    labeled: PackedDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    timed(monkeypatch, demo_32=0.15)
    given = {"lr_decay": 0.0, "sample_every": 7, "batch_size": 8, "minutes": 1.0}
    config = make_plan(prepare(labeled, tmp_path / "run", None, **given), print).description.config
    assert {key: getattr(config, key) for key in given} == given


def test_a_packed_sets_size_decides_the_ladder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dataset = pack(open_source("avatars:dylan,micah@20"), tmp_path / "set", 64)
    timed(monkeypatch, cpu_64=1.0)
    session = make_plan(prepare(dataset, tmp_path / "run", None, minutes=10.0), print)
    assert (session.description.preset, session.description.config.resolution) == ("cpu-64", 64)


def test_a_shape_that_no_projected_network_has_gets_the_classic_preset(tmp_path: Path) -> None:
    dataset = pack(open_source("avatars:dylan,micah@20"), tmp_path / "set", "48x40")
    session = prepare(dataset, tmp_path / "run", None, minutes=10.0)
    assert session.plan is not None
    assert [c.description.preset for c in session.plan.candidates] == ["classic-32"]


def test_a_run_without_a_limit_needs_no_plan(labeled: PackedDataset, tmp_path: Path) -> None:
    session = prepare(labeled, tmp_path / "run", "smoke", **TINY)
    assert make_plan(session, print) is session


def test_timing_leaves_no_trace_in_the_training_that_follows(
    labeled: PackedDataset, train_run: Callable[..., Path], tmp_path: Path
) -> None:
    session = prepare(labeled, tmp_path / "timed", "smoke", steps=7, **TINY)
    estimate = estimate_training(session.description, labeled, done=3)
    assert estimate.steps == 7
    assert estimate.seconds == pytest.approx(4 * 1.08 * estimate.step_seconds)
    assert not (tmp_path / "timed").exists()


def test_every_ladder_climbs_presets_of_its_resolution() -> None:
    for resolution, rungs in LADDERS.items():
        assert all(PRESETS[rung.preset].settings["resolution"] == resolution for rung in rungs)
        thresholds = [rung.from_steps for rung in rungs]
        assert thresholds[0] == 0
        assert thresholds == sorted(set(thresholds))
