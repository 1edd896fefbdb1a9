"""Experiment trackers get what stats.jsonl gets, and cannot cost a training."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from accelerate import PartialState
from accelerate.tracking import GeneralTracker, TensorBoardTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.run.run import Run
from sagan.training import trackers
from sagan.training.loop import train
from sagan.training.recorder import Reporter
from sagan.training.session import prepare_session
from sagan.training.trackers import Kind, Trackers, parse_trackers


class Silent(Reporter):
    pass


class Fake(GeneralTracker):
    """Remembers what accelerate's trackers are called with."""

    name = "fake"
    requires_logging_directory = False

    def __init__(self, known: str) -> None:
        super().__init__()
        self.known = known
        self.settings: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.images: list[tuple[int, str, tuple[int, ...]]] = []
        self.finished = 0
        self.fails: str | None = None

    @property
    def tracker(self) -> Any:
        return SimpleNamespace(id=self.known or "new-id")

    def start(self) -> None:
        self._fail("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        self._fail("log")
        self.logged.append((step, values))

    def log_images(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        ((name, (image,)),) = values.items()
        self.images.append((step, name, image.shape))

    def finish(self) -> None:
        self.finished += 1

    def _fail(self, method: str) -> None:
        if self.fails == method:
            raise RuntimeError("no\nnetwork")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    """All trackers of the kind "fake" that are opened."""
    fakes: list[Fake] = []

    def open_fake(run: Path, known: str) -> Fake:
        fakes.append(Fake(known))
        return fakes[-1]

    kind = Kind(open_fake, lambda t: t.tracker.id, lambda name, image: {name: [image]})
    monkeypatch.setitem(trackers.KINDS, "fake", kind)
    return fakes


def run_with(
    names: tuple[str, ...], run: Path, dataset: PackedDataset, tiny: dict[str, Any], steps: int
) -> None:
    settings = tiny | {"steps": steps, "log_every": 1, "sample_every": 2, "evaluate_every": 0}
    session = prepare_session(str(dataset.path), run, "smoke", settings, lambda _: None)
    train(replace(session, trackers=names), Silent())


@pytest.fixture
def tiny(tiny_config: Callable[..., Any]) -> dict[str, Any]:
    keys = ("channels_g", "channels_d", "latent_size", "batch_size", "precision")
    config = tiny_config()
    return {key: getattr(config, key) for key in keys}


def test_a_tracker_gets_settings_records_and_sample_grids(
    opened: list[Fake], labeled: PackedDataset, tiny: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_with(("fake",), run, labeled, tiny, steps=2)
    (fake,) = opened
    assert fake.settings["preset"] == "smoke"
    assert fake.settings["attention_g"] == "16"
    records = Run(run).records
    assert [step for step, _ in fake.logged] == [record["step"] for record in records]
    for (_, values), record in zip(fake.logged, records, strict=True):
        assert values == {name: v for name, v in record.items() if name != "step"}
    assert [(step, name) for step, name, _ in fake.images] == [(2, "samples")]
    assert fake.finished == 1


def test_a_resumed_run_continues_the_trackers_run(
    opened: list[Fake], labeled: PackedDataset, tiny: dict[str, Any], tmp_path: Path, no_images: Any
) -> None:
    run = tmp_path / "run"
    run_with(("fake",), run, labeled, tiny, steps=1)
    assert json.loads((run / "trackers.json").read_text()) == {"fake": "new-id"}
    run_with(("fake",), run, labeled, tiny, steps=2)
    assert [fake.known for fake in opened] == ["", "new-id"]
    (run / "trackers.json").write_text("damaged")
    run_with(("fake",), run, labeled, tiny, steps=3)
    assert opened[-1].known == ""


def test_a_run_without_trackers_has_no_file_of_them(finished_run: Path) -> None:
    assert not (finished_run / "trackers.json").exists()


def test_a_tracker_that_cannot_start_is_one_line_before_the_first_step(
    opened: list[Fake], labeled: PackedDataset, tiny: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Fake, "start", lambda self: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(SaganError, match="cannot start the tracker fake: full"):
        run_with(("fake",), tmp_path / "run", labeled, tiny, steps=1)


def test_trackers_are_finished_if_nothing_can_be_recorded(
    opened: list[Fake], labeled: PackedDataset, tiny: dict[str, Any], tmp_path: Path
) -> None:
    damaged, blocked = tmp_path / "damaged", tmp_path / "blocked"
    (damaged / "trackers.json").mkdir(parents=True)
    blocked.mkdir()
    (blocked / "tb").touch()
    for run in (damaged, blocked):
        with pytest.raises(SaganError, match="cannot write"):
            run_with(("fake",), run, labeled, tiny, steps=1)
    assert [fake.finished for fake in opened] == [1, 1]


def test_a_tracker_that_fails_is_left_out_with_one_warning(
    opened: list[Fake], finished_run: Path, tmp_path: Path
) -> None:
    PartialState(cpu=True)
    both = Trackers(("fake",), tmp_path, Run(finished_run).description)
    opened[0].fails = "log"
    with pytest.warns(UserWarning, match="continues without it: no network") as caught:
        both.log({"step": 1, "a": 2.0})
    both.log({"step": 2, "a": 2.0})
    both.log_image("samples", np.zeros((4, 4, 3), np.uint8), 2)
    both.close()
    assert len(caught) == 1
    assert not opened[0].images


def test_accelerates_own_tracker_writes_what_stats_jsonl_has(
    labeled: PackedDataset, tiny: dict[str, Any], tmp_path: Path, no_images: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def open_events(run: Path, known: str) -> TensorBoardTracker:
        return TensorBoardTracker("events", logging_dir=str(tmp_path))

    monkeypatch.setitem(trackers.KINDS, "events", Kind(open_events, lambda _: "id"))
    run_with(("events",), tmp_path / "run", labeled, tiny, steps=2)
    ours = EventAccumulator(str(tmp_path / "run" / "tb")).Reload()
    theirs = EventAccumulator(str(tmp_path / "events")).Reload()
    for record in Run(tmp_path / "run").records:
        for name in record.keys() - {"step"}:
            event = next(e for e in theirs.Scalars(name) if e.step == record["step"])
            assert math.isclose(event.value, record[name], rel_tol=1e-6)
    assert set(ours.Tags()["scalars"]) <= set(theirs.Tags()["scalars"])
    assert "images_per_second" in ours.Tags()["scalars"]


def test_names_are_checked_and_tensorboard_is_there_anyway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert parse_trackers("tensorboard") == ()
    with pytest.raises(SaganError, match="unknown tracker 'wand': choose from tensorboard, wandb"):
        parse_trackers("wand")
    for spec in (None, SimpleNamespace(origin=None)):  # a folder called mlflow
        monkeypatch.setattr(trackers, "find_spec", lambda _, spec=spec: spec)
        with pytest.raises(SaganError, match="needs the library 'mlflow': pip install mlflow"):
            parse_trackers("tensorboard,mlflow")
    monkeypatch.setattr(trackers, "find_spec", lambda _: SimpleNamespace(origin="file"))
    assert parse_trackers("wandb, trackio,wandb") == ("wandb", "trackio")


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio", "aim"])
def test_every_tracker_is_one_of_accelerates_and_opens_without_its_library(
    name: str, tmp_path: Path
) -> None:
    """Their libraries are imported by `start` only."""
    PartialState(cpu=True)
    loaded = set(sys.modules)
    for known in ("", "abc"):
        assert trackers.KINDS[name].open(tmp_path, known).name == name
    assert name not in set(sys.modules) - loaded
