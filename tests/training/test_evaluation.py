"""Evaluation while training: bounded in time, without a trace in the weights, the best kept."""

import json
import shutil
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sagan.data import PackedDataset
from sagan.metrics.features.network import FeatureNetwork
from sagan.metrics.measures.kernel import kernel_distance
from sagan.model import open_model
from sagan.run import checkpoint
from sagan.run.stats import read_statistics
from sagan.runtime.processes import Consensus
from sagan.training import evaluation
from sagan.training.evaluation import BEST_BY, Evaluator
from sagan.training.loop import Interrupted
from sagan.training.signals import Requests
from sagan.training.state import Training

ALWAYS = {"evaluate_every": 1, "evaluate_share": 1.0}


class Tiny(nn.Module):
    """Means of the colors."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = images.float().mean(dim=(1, 2)) / 64
        return features, features[:, :0]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> None:
    """Evaluations of few pictures by a network that takes no time."""
    network = FeatureNetwork("tiny", "Tiny", 3, 0, "0" * 64, "none", Tiny())
    monkeypatch.setattr("sagan.training.evaluation.open_network", lambda name: network)
    monkeypatch.setattr(evaluation, "SAMPLES", 12)
    monkeypatch.setattr(evaluation, "SETUP_SECONDS", 0.0)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, quick: None) -> Callable[[list[float]], None]:
    """scripted(values): the evaluations give these values, one after the other."""

    def script(values: list[float]) -> None:
        coming = iter(values)
        monkeypatch.setattr(evaluation, "_measure", lambda *_: {BEST_BY: next(coming)})

    return script


def weights_of(run: Path) -> dict[str, dict[str, Tensor]]:
    newest = checkpoint.latest_checkpoint(run)
    assert newest is not None
    names = ("generator", "discriminator", "ema", "optimizer")
    return {name: checkpoint.read_tensors(newest, name) for name in names}


def test_the_curve_is_recorded_and_the_weights_are_those_of_a_run_without_it(
    labeled: PackedDataset, train_run: Callable[..., Path], quick: None, tmp_path: Path
) -> None:
    settings = {"steps": 4, "d_steps": 2, "augment": "adaptive", "ema_half_life": 20}
    watched = train_run(tmp_path / "watched", labeled, **settings, **ALWAYS)
    plain = train_run(tmp_path / "plain", labeled, **settings, evaluate_every=0)
    curve = [record for record in read_statistics(watched) if BEST_BY in record]
    assert [record["step"] for record in curve] == [1, 2, 3, 4]
    for name in ("precision", "recall", "density", "coverage", "seconds"):
        assert all(record[f"metric/{name}"] >= 0 for record in curve)
    assert len({record[BEST_BY] for record in curve}) == 4  # of other weights each time
    assert not any(BEST_BY in record for record in read_statistics(plain))
    assert not (plain / "best.json").exists()
    one, other = weights_of(watched), weights_of(plain)
    for name, tensors in one.items():
        assert all(torch.equal(tensor, other[name][key]) for key, tensor in tensors.items()), name


def test_the_curve_is_in_tensorboard_too(
    labeled: PackedDataset, train_run: Callable[..., Path], quick: None, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train_run(tmp_path / "run", labeled, steps=2, **ALWAYS)
    events = EventAccumulator(str(run / "tb"))
    events.Reload()
    assert [event.step for event in events.Scalars(BEST_BY)] == [1, 2]


@pytest.mark.parametrize("cost", [0.3, 6.0, 60.0])
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_evaluations_never_take_more_than_their_share(
    cost: float, share: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a clock that moves only as told, over an hour of steps of a quarter of a second each."""
    now = 0.0
    evaluated = []

    def prepare(*_: object) -> tuple[None, float]:
        nonlocal now
        now += 3
        return object(), cost

    def measure(training: Any, _: object) -> dict[str, float]:
        nonlocal now
        now += cost
        evaluated.append(training.step)
        return {BEST_BY: 1 / training.step}

    monkeypatch.setattr(evaluation, "_prepare", prepare)
    monkeypatch.setattr(evaluation, "_measure", measure)
    monkeypatch.setattr(evaluation.time, "perf_counter", lambda: now)
    training: Any = SimpleNamespace(
        step=0,
        seconds=0.0,
        dataset=range(100),
        config=SimpleNamespace(evaluate_every=10, evaluate_share=share),
        accelerator=SimpleNamespace(is_main_process=True),
        consensus=Consensus(processes=1),
    )
    evaluator = Evaluator(tmp_path, training)
    for training.step in range(1, 4 * 3600 + 1):
        training.seconds += 0.25
        evaluator.after_step(last=False)
        assert now <= share * (training.seconds + now) + 1e-9
    assert all(step % 10 == 0 for step in evaluated)
    # And it is used: half of what there is to spend at least, or every time that one is due.
    assert now > share * 3600 / 2 or len(evaluated) > 0.9 * 4 * 360


def test_no_evaluation_is_made_that_cannot_be_afforded(
    labeled: PackedDataset, train_run: Callable[..., Path], tmp_path: Path, no_pictures: None
) -> None:
    """So a tiny run by default has none, and does not even load the libraries."""
    run = train_run(tmp_path / "run", labeled, steps=2, evaluate_every=1)
    assert not any(BEST_BY in record for record in read_statistics(run))


def test_the_best_checkpoint_is_kept_and_named(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    scripted: Callable[[list[float]], None],
    tmp_path: Path,
) -> None:
    scripted([5, 2, 4, 3, 6, 7, 8])
    run = train_run(tmp_path / "run", labeled, steps=7, checkpoint_every=1, **ALWAYS)
    assert json.loads((run / "best.json").read_text()) == {"step": 2, BEST_BY: 2}
    kept = [checkpoint.step_of(folder) for folder in checkpoint.checkpoints(run)]
    assert kept == [2, 5, 6, 7]
    best = open_model(run / "checkpoints" / "step-00000002")
    assert best.step == 2
    assert open_model(run).step == 7
    assert best.generator().sample(1, [0]).shape == (1, 32, 32, 3)


def test_a_new_best_is_saved_at_once_and_the_old_one_may_go(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    scripted: Callable[[list[float]], None],
    tmp_path: Path,
) -> None:
    scripted([9, 8, 7, 6, 7, 7, 7])
    run = train_run(tmp_path / "run", labeled, steps=7, **ALWAYS)  # checkpoint_every=100
    kept = [checkpoint.step_of(folder) for folder in checkpoint.checkpoints(run)]
    assert kept == [3, 4, 7]
    assert json.loads((run / "best.json").read_text())["step"] == 4


def test_the_best_and_the_time_spent_outlast_a_restart(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    scripted: Callable[[list[float]], None],
    tmp_path: Path,
) -> None:
    scripted([1, 5, 4, 3, 2, 6])
    settings: dict[str, Any] = {"checkpoint_every": 1, **ALWAYS}
    run = train_run(tmp_path / "run", labeled, steps=2, **settings)
    train_run(run, labeled, steps=6, **settings)
    assert json.loads((run / "best.json").read_text()) == {"step": 1, BEST_BY: 1}
    kept = [checkpoint.step_of(folder) for folder in checkpoint.checkpoints(run)]
    assert kept == [1, 4, 5, 6]
    records = read_statistics(run)
    spent = [record["metric/seconds"] for record in records if "metric/seconds" in record]
    assert spent == sorted(spent)


def test_the_best_is_the_best_of_the_statistics_whatever_best_json_says(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    scripted: Callable[[list[float]], None],
    tmp_path: Path,
) -> None:
    """As after a kill between the checkpoint that is the best and the file that says so."""
    scripted([4, 5, 3])
    run = train_run(tmp_path / "run", labeled, steps=1, **ALWAYS)
    for content in ("", '{"step": 99, "metric/KD-EfficientNet": 0}'):
        (run / "best.json").write_text(content)
        train_run(run, labeled, steps=2, **ALWAYS)
        assert (run / "best.json").read_text() == content  # 5 is not better than 4
    train_run(run, labeled, steps=3, **ALWAYS)
    assert json.loads((run / "best.json").read_text()) == {"step": 3, BEST_BY: 3}


def test_a_best_whose_checkpoint_is_gone_is_forgotten(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    scripted: Callable[[list[float]], None],
    tmp_path: Path,
) -> None:
    scripted([4, 5, 6])
    run = train_run(tmp_path / "run", labeled, steps=2, checkpoint_every=1, **ALWAYS)
    shutil.rmtree(run / "checkpoints" / "step-00000001")
    train_run(run, labeled, steps=3, **ALWAYS)
    assert open_model(run).step == 3
    found, value = evaluation._best_so_far(run, read_statistics(run), 3)
    assert (found, value) == (2, 5)


def test_without_the_libraries_training_says_so_and_goes_on(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    quick: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sagan.training import session

    monkeypatch.setattr(evaluation, "libraries_installed", lambda: False)
    monkeypatch.setattr(session, "libraries_installed", lambda: False)
    told: list[str] = []
    session.prepare(str(labeled.path), tmp_path / "run", "smoke", {}, told.append)
    assert [line for line in told if "pip install '.[metrics]'" in line]
    run = train_run(tmp_path / "run", labeled, steps=2, **ALWAYS)
    assert not any(BEST_BY in record for record in read_statistics(run))


def test_where_evaluations_cannot_be_had_training_says_so_once_and_goes_on(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    quick: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="goes on without evaluations: cannot keep") as warned:
        run = train_run(tmp_path / "run", labeled, steps=3, **ALWAYS)
    assert len(warned) == 1
    assert open_model(run).step == 3
    assert not any(BEST_BY in record for record in read_statistics(run))


@pytest.mark.parametrize("part", ["_prepare", "_measure"])
def test_no_error_of_an_evaluation_ends_a_training(
    part: str,
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    quick: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(evaluation, part, fails)
    with pytest.warns(UserWarning, match="goes on without evaluations: no memory left"):
        run = train_run(tmp_path / "run", labeled, steps=2, **ALWAYS)
    assert open_model(run).step == 2


def test_whoever_stops_a_training_does_not_wait_for_an_evaluation(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    scripted: Callable[[list[float]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten seconds is what many a scheduler gives."""
    scripted([])  # the first would fail
    requests = Requests()
    requests.stop = signal.SIGTERM
    monkeypatch.setattr("sagan.training.loop.received_requests", lambda: nullcontext(requests))
    with pytest.raises(Interrupted):
        train_run(tmp_path / "run", labeled, steps=2, **ALWAYS)
    assert open_model(tmp_path / "run").step == 1


def test_a_handful_of_pictures_is_trained_on_without_evaluation(
    labeled: PackedDataset, train_run: Callable[..., Path], quick: None, tmp_path: Path
) -> None:
    from dataclasses import replace

    few = replace(labeled, images=labeled.images[:5], labels=labeled.labels[:5])
    training: Any = SimpleNamespace(
        step=1,
        dataset=few,
        config=SimpleNamespace(**ALWAYS),
        accelerator=SimpleNamespace(is_main_process=True),
        consensus=Consensus(processes=1),
    )
    assert Evaluator(tmp_path, training).after_step(last=True) == {}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> FeatureNetwork:
    """Of 12 samples and 9 real pictures."""
    monkeypatch.setattr(evaluation, "SAMPLES", 12)
    monkeypatch.setattr(evaluation, "REFERENCE", 9)
    return FeatureNetwork("tiny", "Tiny", 3, 0, "0" * 64, "none", Tiny())


def test_the_curve_is_of_the_averages_samples_against_pictures_of_the_whole_set(
    labeled: PackedDataset, start_training: Callable[..., Training], few: FeatureNetwork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    training = start_training(labeled)
    training.advance()
    with torch.no_grad():
        training.adversaries.generator.to_rgb.bias.fill_(3)  # the latest weights draw white
    monkeypatch.setattr(evaluation, "SAMPLES", 9)  # every subset is the whole
    record = evaluation._measure(training, few)
    labels = [0, 1, 2, 0, 1, 0, 2, 1, 0]  # as often as among the 18: 8, 6 and 4
    images = training.average.generator.sample(9, labels, seed=training.config.seed)
    pictures = (images, labeled.images[::2])
    features = [few(torch.from_numpy(np.array(x)))[0].numpy() for x in pictures]
    expected, _ = kernel_distance(*features, seed=0)
    assert record[BEST_BY] == pytest.approx(expected, rel=1e-4)


def test_samples_that_are_all_one_picture_have_precision_and_no_recall_in_the_curve(
    labeled: PackedDataset, start_training: Callable[..., Training], few: FeatureNetwork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one = np.repeat(labeled.images[4:5], 12, axis=0)
    monkeypatch.setattr(
        evaluation, "_samples", lambda _: SimpleNamespace(draw=lambda a, b: one[a:b])
    )
    record = evaluation._measure(start_training(labeled), few)
    assert record["metric/precision"] == 1
    assert record["metric/recall"] == pytest.approx(1 / 9)  # that picture itself


def test_of_equal_evaluations_the_first_stays_the_best(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    scripted: Callable[[list[float]], None],
    tmp_path: Path,
) -> None:
    scripted([2, 2, 2])
    run = train_run(tmp_path / "run", labeled, steps=3, **ALWAYS)
    assert json.loads((run / "best.json").read_text())["step"] == 1
