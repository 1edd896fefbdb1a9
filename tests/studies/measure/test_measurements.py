"""A study measures the weights, the split and the step that its table names."""

from dataclasses import replace

import pytest

from sagan.config import resolve
from sagan.model import open_model
from sagan.studies.definitions import discriminator, spectral_norm
from sagan.studies.measure import quality
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

    def probe(train: LabeledFeatures, test: LabeledFeatures, *_: object) -> float:
        called.append((len(train), len(test)))
        return 0.5

    monkeypatch.setattr(discriminator, "linear_accuracy", lambda *a: (probe(*a), 1.0))
    monkeypatch.setattr(discriminator, "neighbor_accuracy", probe)
    monkeypatch.setattr(discriminator, "few_label_accuracy", probe)
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
