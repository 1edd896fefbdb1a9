"""Evaluation while training is bounded in time, changes no weight, and keeps the best."""

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
from sagan.run.run import Run
from sagan.run.stats import read_records
from sagan.runtime.processes import Processes
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
def quick(monkeypatch: pytest.MonkeyPatch, no_images: None) -> None:
    """Evaluations of few images by a network that takes no time."""
    network = FeatureNetwork("tiny", "Tiny", 3, 0, "0" * 64, "none", Tiny())
    monkeypatch.setattr("sagan.training.evaluation.open_network", lambda name: network)
    monkeypatch.setattr(evaluation, "NUM_SAMPLES", 12)
    monkeypatch.setattr(evaluation, "SETUP_SECONDS", 0.0)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, quick: None) -> Callable[[list[float]], None]:
    """scripted(values): evaluations return these values, one after the other."""

    def script(values: list[float]) -> None:
        remaining = iter(values)
        monkeypatch.setattr(evaluation, "_measure", lambda *_: {BEST_BY: next(remaining)})

    return script


def weights_of(run: Path) -> dict[str, dict[str, Tensor]]:
    newest = checkpoint.latest_checkpoint(run)
    assert newest is not None
    names = ("generator", "discriminator", "ema", "optimizer")
    return {name: checkpoint.read_checkpoint(newest, name) for name in names}


def test_the_curve_is_recorded_and_changes_no_bit_of_the_weights(
    labeled: PackedDataset, train_run: Callable[..., Path], quick: None, tmp_path: Path
) -> None:
    settings = {"steps": 4, "d_steps": 2, "augment": "adaptive", "ema_half_life": 20}
    evaluated = train_run(tmp_path / "evaluated", labeled, **settings, **ALWAYS)
    plain = train_run(tmp_path / "plain", labeled, **settings, evaluate_every=0)
    curve = [record for record in read_records(evaluated) if BEST_BY in record]
    assert [record["step"] for record in curve] == [1, 2, 3, 4]
    for name in ("precision", "recall", "density", "coverage", "seconds"):
        assert all(record[f"metric/{name}"] >= 0 for record in curve)
    assert len({record[BEST_BY] for record in curve}) == 4  # of different weights each time
    assert not any(BEST_BY in record for record in read_records(plain))
    assert not (plain / "best.json").exists()
    one, other = weights_of(evaluated), weights_of(plain)
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
    """On a simulated clock, over an hour of steps that take a quarter of a second each."""
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
        processes=Processes(1),
    )
    evaluator = Evaluator(Run(tmp_path), training)
    for training.step in range(1, 4 * 3600 + 1):
        training.seconds += 0.25
        evaluator.after_step(last=False)
        assert now <= share * (training.seconds + now) + 1e-9
    assert all(step % 10 == 0 for step in evaluated)
    # The share is used: at least half of it, or for nearly every evaluation that is due.
    assert now > share * 3600 / 2 or len(evaluated) > 0.9 * 4 * 360


def test_an_evaluation_that_would_exceed_the_share_is_skipped(
    labeled: PackedDataset, train_run: Callable[..., Path], tmp_path: Path, no_images: None
) -> None:
    """So a tiny run has none by default, and does not even load the libraries."""
    run = train_run(tmp_path / "run", labeled, steps=2, evaluate_every=1)
    assert not any(BEST_BY in record for record in read_records(run))


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


def test_a_new_best_is_saved_at_once_and_the_previous_one_may_be_removed(
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


def test_the_best_and_the_time_spent_survive_a_restart(
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
    records = read_records(run)
    spent = [record["metric/seconds"] for record in records if "metric/seconds" in record]
    assert spent == sorted(spent)


def test_the_best_is_taken_from_the_records_whatever_best_json_says(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    scripted: Callable[[list[float]], None],
    tmp_path: Path,
) -> None:
    """As after a kill between saving the best checkpoint and updating best.json."""
    scripted([4, 5, 3])
    run = train_run(tmp_path / "run", labeled, steps=1, **ALWAYS)
    for content in ("", '{"step": 99, "metric/KD-EfficientNet": 0}'):
        (run / "best.json").write_text(content)
        train_run(run, labeled, steps=2, **ALWAYS)
        assert (run / "best.json").read_text() == content  # 5 is not better than 4
    train_run(run, labeled, steps=3, **ALWAYS)
    assert json.loads((run / "best.json").read_text()) == {"step": 3, BEST_BY: 3}


def test_a_best_step_without_its_checkpoint_is_forgotten(
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
    found, value = evaluation._best_so_far(run, read_records(run))
    assert (found, value) == (2, 5)


def test_without_the_libraries_training_says_so_and_continues(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    quick: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sagan.training import session

    monkeypatch.setattr(evaluation, "libraries_installed", lambda: False)
    monkeypatch.setattr(session, "libraries_installed", lambda: False)
    lines: list[str] = []
    session.prepare_session(str(labeled.path), tmp_path / "run", "smoke", {}, lines.append)
    assert [line for line in lines if "pip install '.[metrics]'" in line]
    run = train_run(tmp_path / "run", labeled, steps=2, **ALWAYS)
    assert not any(BEST_BY in record for record in read_records(run))


def test_if_evaluation_is_impossible_training_says_so_once_and_continues(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    quick: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="continues without evaluations: cannot write") as warned:
        run = train_run(tmp_path / "run", labeled, steps=3, **ALWAYS)
    assert len(warned) == 1
    assert open_model(run).step == 3
    assert not any(BEST_BY in record for record in read_records(run))


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
    with pytest.warns(UserWarning, match="continues without evaluations: no memory left"):
        run = train_run(tmp_path / "run", labeled, steps=2, **ALWAYS)
    assert open_model(run).step == 2


def test_a_stopped_training_ends_without_an_evaluation(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    scripted: Callable[[list[float]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many schedulers allow ten seconds."""
    scripted([])  # the first would fail
    requests = Requests()
    requests.stop = signal.SIGTERM
    monkeypatch.setattr("sagan.training.loop.received_requests", lambda: nullcontext(requests))
    with pytest.raises(Interrupted):
        train_run(tmp_path / "run", labeled, steps=2, **ALWAYS)
    assert open_model(tmp_path / "run").step == 1


def test_a_handful_of_images_is_trained_on_without_evaluation(
    labeled: PackedDataset, train_run: Callable[..., Path], quick: None, tmp_path: Path
) -> None:
    from dataclasses import replace

    few = replace(labeled, images=labeled.images[:5], labels=labeled.labels[:5])
    training: Any = SimpleNamespace(
        step=1,
        dataset=few,
        config=SimpleNamespace(**ALWAYS),
        accelerator=SimpleNamespace(is_main_process=True),
        processes=Processes(1),
    )
    assert Evaluator(Run(tmp_path), training).after_step(last=True) == {}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> FeatureNetwork:
    """A network for evaluations of 12 samples and 9 real images."""
    monkeypatch.setattr(evaluation, "NUM_SAMPLES", 12)
    monkeypatch.setattr(evaluation, "NUM_REFERENCE", 9)
    return FeatureNetwork("tiny", "Tiny", 3, 0, "0" * 64, "none", Tiny())


def test_samples_of_the_average_are_compared_with_images_spread_over_the_whole_set(
    labeled: PackedDataset, start_training: Callable[..., Training], few: FeatureNetwork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    training = start_training(labeled)
    training.advance()
    with torch.no_grad():
        training.adversaries.generator.to_rgb.bias.fill_(3)  # the latest weights draw white
    monkeypatch.setattr(evaluation, "NUM_SAMPLES", 9)  # every subset is the whole
    record = evaluation._measure(training, few)
    labels = [0, 1, 2, 0, 1, 0, 2, 1, 0]  # as often as among the 18: 8, 6 and 4
    images = training.average.generator.sample(9, labels, seed=training.config.seed)
    both = (images, labeled.images[::2])
    features = [few(torch.from_numpy(np.array(x)))[0].numpy() for x in both]
    expected, _ = kernel_distance(*features, seed=0)
    assert record[BEST_BY] == pytest.approx(expected, rel=1e-4)


def test_samples_that_are_all_the_same_image_have_precision_but_no_recall(
    labeled: PackedDataset, start_training: Callable[..., Training], few: FeatureNetwork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one = np.repeat(labeled.images[4:5], 12, axis=0)
    monkeypatch.setattr(
        evaluation, "_samples", lambda _: SimpleNamespace(draw=lambda a, b: one[a:b])
    )
    record = evaluation._measure(start_training(labeled), few)
    assert record["metric/precision"] == 1
    assert record["metric/recall"] == pytest.approx(1 / 9)  # that image itself


def test_among_equal_evaluations_the_first_is_the_best(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    scripted: Callable[[list[float]], None],
    tmp_path: Path,
) -> None:
    scripted([2, 2, 2])
    run = train_run(tmp_path / "run", labeled, steps=3, **ALWAYS)
    assert json.loads((run / "best.json").read_text())["step"] == 1
