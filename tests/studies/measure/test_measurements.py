"""A study measures the weights, the split and the step that its table names."""

from dataclasses import replace

import numpy as np
import pytest

from sagan.config import resolve
from sagan.data.packed import fingerprint_of
from sagan.model import open_model
from sagan.studies.definitions import discriminator, spectral_norm
from sagan.studies.measure import quality
from sagan.studies.measure.blocks import NUM_BLOCKS, accuracy_by_block, block_rows
from sagan.studies.measure.probes import LabeledFeatures
from sagan.studies.measure.train import last_values
from sagan.studies.run import RunObserver, StudyData, StudyRun


def test_the_last_value_of_a_curve_is_that_of_the_last_step() -> None:
    curves = {"gamma/generator.attention_16": [(1, 0.1), (2, 0.3)], "loss/d": [(1, 2.0)]}
    assert last_values(curves, "gamma/", "dropped") == {"gamma/generator.attention_16": 0.3}


def test_a_study_measures_the_averaged_generator(
    finished_run, labeled, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    document = quality.measure_quality(
        finished_run, StudyData({"train": labeled}), lambda *_: None, 6, ["kid"]
    )
    assert document["model"]["sha256"] == open_model(finished_run).sha256("ema")
    assert document["model"]["sha256"] != open_model(finished_run).sha256("raw")


def test_probes_are_fitted_on_the_train_split_and_scored_on_the_test_split(
    labeled, monkeypatch, tmp_path
) -> None:
    test = replace(labeled, images=labeled.images[::2], labels=labeled.labels[::2])
    called = []

    def probe(train: LabeledFeatures, test: LabeledFeatures, *_: object) -> np.ndarray:
        called.append((len(train), len(test)))
        return np.arange(len(test)) % 2 == 0

    monkeypatch.setattr(discriminator, "linear_hits", lambda *a: (probe(*a), 1.0))
    monkeypatch.setattr(discriminator, "neighbor_hits", probe)
    monkeypatch.setattr(discriminator, "few_label_accuracy", lambda *a: probe(*a).mean())
    run = StudyRun("discriminator", "pixels", resolve("smoke", {}), "smoke", tmp_path)
    data = StudyData({"train": labeled, "test": test})
    discriminator.perform(run, data, RunObserver(None, lambda *_: None))
    assert set(called) == {(18, 9)}


def test_sigma_is_that_of_the_weight_the_network_uses(
    labeled, start_training, monkeypatch, tmp_path
) -> None:
    """It is 1 for a normalized weight, however large the original weight is."""
    adversaries = start_training(labeled).adversaries
    for network in (adversaries.generator, adversaries.discriminator):
        for name, tensor in network.state_dict().items():
            if name.endswith("weight.original"):
                tensor.mul_(3)
    monkeypatch.setattr(
        spectral_norm, "read_checkpoint", lambda _, name: getattr(adversaries, name).state_dict()
    )
    config = resolve(
        "smoke", {"channels_g": 8, "channels_d": 8, "latent_size": 8, "conditional": True}
    )
    run = StudyRun("spectral-norm", "both", config, "smoke", tmp_path)
    found = dict(spectral_norm.exact_sigmas(run, StudyData({"train": labeled}), tmp_path))
    assert len(found) > 20
    assert list(found.values()) == pytest.approx([1.0] * len(found), abs=0.1)


def test_blocks_are_disjoint_and_contain_every_image() -> None:
    rows = block_rows(105)
    assert len(rows) == NUM_BLOCKS
    assert sorted(np.concatenate(rows)) == list(range(105))
    assert block_rows(19) == []


def test_accuracies_by_block_average_to_the_accuracy() -> None:
    hits = np.arange(200) % 3 == 0
    assert np.mean(accuracy_by_block(hits)) == pytest.approx(hits.mean())
    assert np.std(accuracy_by_block(hits)) > 0


def test_a_finished_run_leaves_its_distance_by_block_around_the_distance(
    finished_run, labeled, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    images, labels = np.tile(labeled.images, (4, 1, 1, 1)), np.tile(labeled.labels, 4)
    many = replace(labeled, images=images, labels=labels)
    many = replace(many, fingerprint=fingerprint_of(many))
    config = resolve("smoke", {})
    run = StudyRun("attention", "none", config, "smoke", finished_run, samples=72)
    document, blocks = quality.measure_final_quality(
        run, StudyData({"train": many}), lambda *_: None
    )
    (found,) = blocks.values()
    assert len(found) == NUM_BLOCKS
    distance = document["metrics"]["KD-EfficientNet"]
    assert np.mean(found) == pytest.approx(distance, abs=4 * np.std(found) / np.sqrt(NUM_BLOCKS))
    assert document["protocol"]["samples"]["pictures"] == 72
