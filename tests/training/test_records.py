"""A run writes the documented files, and records each step once, with what was measured."""

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from sagan.data import PackedDataset
from sagan.explain.view import LayerView
from sagan.images.grid import grid_columns, image_grid
from sagan.model import open_model
from sagan.run.stats import read_records
from sagan.sampling import grid_labels
from sagan.training import measurements
from sagan.training.images import draw_images
from sagan.training.measurements import measure_attention
from sagan.training.record_writer import RecordWriter
from sagan.training.recorder import Reporter
from sagan.training.state import Training

Train = Callable[..., Path]


class Crash(Exception):
    """An error that nothing handles."""


class DieAt(Reporter):
    """Fails after a given step, like a crash."""

    def __init__(self, step: int) -> None:
        self.step = step

    def advanced(self, step: int) -> None:
        if step == self.step:
            raise Crash


LAYERS_G = ["linear", "to_rgb", "blocks.0.conv1", "self_attention.16.query"]
LAYERS_D = ["linear", "embedding", "blocks.0.skip", "self_attention.16.value"]


def test_a_finished_run_has_the_documented_files(finished_run: Path) -> None:
    names = {path.name for path in finished_run.iterdir() if path.name != ".lock"}
    assert names == {
        "config.json", "environment.json", "stats.jsonl", "tb", "samples", "attention",
        "checkpoints",
    }  # fmt: skip
    images = ["step-00000003.png", "step-00000006.png"]
    for folder in ("samples", "attention"):
        assert sorted(path.name for path in (finished_run / folder).iterdir()) == images
    newest = finished_run / "checkpoints" / "step-00000006"
    assert sorted(path.name for path in newest.iterdir()) == [
        "discriminator.safetensors", "ema.safetensors", "generator.safetensors", "manifest.json",
        "optimizer.safetensors", "state.json",
    ]  # fmt: skip
    environment = json.loads((finished_run / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert environment["precision"] == "float32"
    assert environment["threads"] == torch.get_num_threads()


def test_figures_of_attention_ask_about_the_same_pixels_at_every_step(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def record(images: np.ndarray, views: list[LayerView], *rest: object) -> None:
        asked.append([view.queries for view in views])

    monkeypatch.setattr("sagan.explain.draw.attention_figure", record)
    monkeypatch.setattr("sagan.explain.draw.save_figure", lambda *arguments: None)
    (tmp_path / "samples").mkdir()
    generator = open_model(finished_run).generator()
    for step in (1, 2):
        draw_images(generator, tmp_path, step, mock.Mock(spec=RecordWriter))
        with torch.no_grad():
            generator.self_attention["16"].query.weight.normal_()  # type: ignore[union-attr,operator]
    assert len(asked) == 2
    assert asked[0] == asked[1]


def test_records_have_the_documented_keys_at_the_steps_they_were_due(finished_run: Path) -> None:
    records = read_records(finished_run)
    measured: dict[str, list[int]] = {}
    for record in records:
        for key, value in record.items():
            assert math.isfinite(value)
            measured.setdefault(key, []).append(int(record["step"]))
    for key in ("seconds", "images_per_second", "loss/d", "loss/g", "logits/real", "logits/fake"):
        assert measured[key] == [2, 4, 6]
    assert measured["augment/p"] == [2, 4, 6]
    assert measured["gradient/generator"] == measured["gradient/discriminator"] == [2, 4, 6]
    assert measured["gamma/generator.attention_16"] == [2, 4, 6]
    assert measured["gamma/discriminator.attention_16"] == [2, 4, 6]
    for layer in LAYERS_G:
        assert measured[f"sigma/generator/{layer}"] == [2, 4, 6]
    for layer in LAYERS_D:
        assert measured[f"sigma/discriminator/{layer}"] == [2, 4, 6]
    for network in ("generator", "discriminator"):
        for number in ("distance", "entropy", "concentration"):
            assert measured[f"attention/{network}.attention_16/{number}"] == [0, 3, 6]


def test_recorded_gradients_are_those_of_the_latest_update(
    unlabeled: PackedDataset, start_training: Callable[..., Any]
) -> None:
    training = start_training(unlabeled)
    result, loss = training.advance()
    record = training.record(result, loss)
    for name in ("generator", "discriminator"):
        network = getattr(training.adversaries, name)
        flat = torch.cat([p.grad.flatten().double() for p in network.parameters()])
        assert record[f"gradient/{name}"] == pytest.approx(float(flat.norm()), rel=1e-5)
        assert record[f"gradient/{name}"] > 0


def test_attention_is_measured_on_samples_and_on_real_images_of_the_whole_set(
    labeled: PackedDataset, start_training: Callable[..., Any]
) -> None:
    training = start_training(labeled)
    generator, discriminator = training.average.generator, training.adversaries.discriminator
    before = {name: value.clone() for name, value in discriminator.state_dict().items()}
    record = measure_attention(generator, discriminator, labeled.images)
    for name, value in discriminator.state_dict().items():
        assert torch.equal(value, before[name]), name
    _, maps = generator.sample(16, [0, 1, 2] * 5 + [0], return_attention=True)
    spread = [i * 17 // 15 for i in range(16)]
    assert labeled.labels is not None
    assert set(labeled.labels[spread]) == {0, 1, 2}
    maps |= discriminator.attention(labeled.images[spread])
    for name, attention in maps.items():
        entropy = -(attention * np.log(attention)).sum(-1)
        assert record[f"attention/{name}/entropy"] == pytest.approx(entropy.mean(), rel=1e-4)
        most = np.sort(attention, axis=-1)[..., ::-1].cumsum(-1)
        half = ((most < 0.5).sum(-1) + 1) / attention.shape[-1]
        measured = record[f"attention/{name}/concentration"]
        assert measured == pytest.approx(half.mean(), abs=0.01)
        assert 8 < record[f"attention/{name}/distance"] < 24


def test_the_recorded_loss_is_the_hinge_of_ds_logits(
    unlabeled: PackedDataset, start_training: Callable[..., Any]
) -> None:
    training = start_training(unlabeled)
    logits: list[torch.Tensor] = []
    training.adversaries.discriminator.register_forward_hook(
        lambda _, __, output: logits.append(output.detach())
    )
    record = training.record(*training.advance())
    real, fake = logits[0].double().chunk(2)
    judged = logits[1].double()  # after D's update
    hinge = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    assert record["step"] == 1
    assert record["loss/d"] == pytest.approx(float(hinge), rel=1e-5)
    assert record["loss/g"] == pytest.approx(-float(judged.mean()), rel=1e-5)
    assert record["logits/real"] == pytest.approx(float(real.mean()), rel=1e-5)
    assert record["logits/fake"] == pytest.approx(float(fake.mean()), rel=1e-5)


@pytest.mark.usefixtures("no_images")
def test_after_a_restart_no_step_is_recorded_twice(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    """The process dies at step 5, with more recorded than saved, in the middle of a line; the run
    resumes from step 4."""
    run = tmp_path / "run"
    settings: dict[str, Any] = {"steps": 7, "log_every": 1, "checkpoint_every": 4}

    with pytest.raises(Crash):
        train_run(run, unlabeled, reporter=DieAt(5), **settings)
    assert max(record["step"] for record in read_records(run)) == 5
    with (run / "stats.jsonl").open("a") as file:
        file.write('{"step": 6, "loss')
    train_run(run, unlabeled, **settings)
    recorded = Counter(
        (record["step"], key) for record in read_records(run) for key in record if key != "step"
    )
    assert set(recorded.values()) == {1}
    assert {step for step, _ in recorded} == set(range(8))
    for line in (run / "stats.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.usefixtures("no_images")
def test_seconds_continue_from_where_they_were(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=2, log_every=1)
    train_run(run, unlabeled, steps=4, log_every=1)
    seconds = [record["seconds"] for record in read_records(run) if "seconds" in record]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) == 4


def test_attention_is_measured_on_as_many_images_as_memory_allows(
    labeled: PackedDataset, start_training: Callable[..., Training], monkeypatch
) -> None:
    training = start_training(labeled)
    networks = training.average.generator, training.adversaries.discriminator

    def recorded(entries: int) -> dict[str, float]:
        monkeypatch.setattr(measurements, "MAX_ENTRIES", entries)
        return measurements.measure_attention(*networks, labeled.images)

    each = 256 * 64  # 16 x 16 positions, 8 x 8 keys
    assert measurements.images_with_maps(networks[0], 16) == 16
    assert set(recorded(16 * each)) == set(recorded(each))
    assert recorded(16 * each) != recorded(each)
    assert recorded(each - 1) == {}


def test_sample_grids_are_drawn_by_the_average(finished_run: Path) -> None:
    with Image.open(finished_run / "samples" / "step-00000006.png") as file:
        recorded = np.asarray(file.convert("RGB")).astype(int)
    model = open_model(finished_run)

    def apart(weights: Any) -> int:
        images = model.generator(weights).sample(80, grid_labels(80, 3))
        return int(np.abs(image_grid(images, grid_columns(80, 3)) - recorded).max())

    assert apart("ema") <= 1  # rounding: its normalization is folded in
    assert apart("raw") > 1


def test_no_file_of_a_run_names_the_machine_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "alices-laptop")
    writer = RecordWriter(tmp_path, [], 0)
    writer.write({"step": 1, "loss/d": 1.0})
    writer.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == {"tb", tmp_path.name}
    for path in files:
        assert "alices-laptop" not in path.name
        assert b"alices-laptop" not in path.read_bytes()


def test_a_run_reads_its_own_records_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 4000
    monkeypatch.setattr("sagan.training.record_writer.MAX_STATS_BYTES", most)
    monkeypatch.setattr("sagan.run.stats.MAX_STATS_BYTES", most)
    metrics = []
    for first in (0, 200):
        writer = RecordWriter(tmp_path, read_records(tmp_path), first)
        for step in range(first, first + 200):
            metric = {"metric/distance": 0.5} if step % 50 == 0 else {}
            writer.write({"step": step, "loss/d": 0.123456789, **metric})
        writer.close()
        metrics += [first + 0, first + 50, first + 100, first + 150]
        records = read_records(tmp_path)
        steps = [int(record["step"]) for record in records]
        assert steps == sorted(set(steps))
        assert (steps[0], steps[-1]) == (0, first + 199)
        assert [r["step"] for r in records if "metric/distance" in r] == metrics
    assert len(steps) > most / 100


def test_a_copy_of_hard_links_stays_as_it_was_when_the_run_is_resumed(
    finished_run: Path, tmp_path: Path, labeled: PackedDataset, train_run
) -> None:
    original = shutil.copytree(finished_run, tmp_path / "original")
    shutil.copytree(original, tmp_path / "run", copy_function=os.link)

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in original.rglob("*") if path.is_file()}

    before = content()
    settings = json.loads((original / "config.json").read_text())["config"]
    del settings["conditional"]
    train_run(tmp_path / "run", labeled, **settings | {"steps": 7})
    assert content() == before
