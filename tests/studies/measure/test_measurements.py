"""What a study measures is what its table says: which weights, which split, which step."""

from dataclasses import replace

import pytest

from sagan.config import resolve
from sagan.model import open_model
from sagan.studies.definitions import discriminator, spectral_norm
from sagan.studies.measure import quality
from sagan.studies.measure.probes import Labeled
from sagan.studies.measure.train import last_values
from sagan.studies.run import Data, Run, Watch


def test_a_curves_last_value_is_the_one_of_the_last_step() -> None:
    curves = {"gamma/generator.attention_16": [(1, 0.1), (2, 0.3)], "loss/d": [(1, 2.0)]}
    assert last_values(curves, "gamma/", "dropped") == {"gamma/generator.attention_16": 0.3}


def test_a_study_measures_the_average(finished_run, labeled, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    document = quality.measure(finished_run, Data({"train": labeled}), lambda *_: None, 6, ["kid"])
    assert document["model"]["sha256"] == open_model(finished_run).sha256("ema")
    assert document["model"]["sha256"] != open_model(finished_run).sha256("raw")


def test_probes_learn_from_the_train_split_and_are_asked_about_the_test_split(
    labeled, monkeypatch, tmp_path
) -> None:
    test = replace(labeled, images=labeled.images[::2], labels=labeled.labels[::2])
    asked = []

    def probe(train: Labeled, test: Labeled, *_: object) -> float:
        asked.append((len(train), len(test)))
        return 0.5

    monkeypatch.setattr(discriminator, "linear_accuracy", lambda *a: (probe(*a), 1.0))
    monkeypatch.setattr(discriminator, "neighbor_accuracy", probe)
    monkeypatch.setattr(discriminator, "few_label_accuracy", probe)
    run = Run("discriminator", "pixels", resolve("smoke", {}), "smoke", tmp_path)
    data = Data({"train": labeled, "test": test})
    discriminator.perform(run, data, Watch(None, lambda *_: None))
    assert set(asked) == {(18, 9)}


def test_sigma_is_of_a_weight_as_the_network_uses_it(
    labeled, start_training, monkeypatch, tmp_path
) -> None:
    """1 for a normalized weight, however large it is before."""
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
    run = Run("spectral-norm", "both", config, "smoke", tmp_path)
    found = dict(spectral_norm.exact_sigmas(run, Data({"train": labeled}), tmp_path))
    assert len(found) > 20
    assert list(found.values()) == pytest.approx([1.0] * len(found), abs=0.1)
