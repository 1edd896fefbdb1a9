"""A study measures the weights, the split and the step that its table names."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sagan.config import resolve
from sagan.data import open_source, pack
from sagan.data.packed import fingerprint_of
from sagan.model import Model, open_model
from sagan.nn.attention import SelfAttention2d
from sagan.studies.definitions import discriminator, spectral_norm
from sagan.studies.measure import cuts, objects, quality
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


def test_samples_with_a_cut_are_the_measured_ones_with_less_attention(
    finished_run, labeled, monkeypatch
) -> None:
    """The oracle sets gamma itself."""

    def with_gamma(value: float) -> Model:
        model = open_model(finished_run)

        def read(name: str) -> dict[str, torch.Tensor]:
            tensors = model.read(name).items()
            return {k: torch.full_like(t, value) if "gamma" in k else t for k, t in tensors}

        return replace(model, read=read)

    monkeypatch.setattr(cuts, "open_model", lambda _: with_gamma(3.0))
    config = resolve("smoke", {})
    run = StudyRun("attention", "attention-16", config, "smoke", finished_run, samples=7)
    found = dict(cuts.samples_with_cuts(run, StudyData({"train": labeled}), list(cuts.CUTS)))
    (without, labels), (nearby, same_labels) = (
        (each.dataset.images, each.dataset.labels) for each in found.values()
    )
    expected = with_gamma(0.0).generator().sample(7, labels, seed=0)
    assert np.array_equal(without, expected)
    assert np.array_equal(labels, same_labels)
    # As often as in the training images.
    assert np.bincount(labels) == pytest.approx(7 / 18 * np.bincount(labeled.labels), abs=1)
    assert not np.array_equal(nearby, without)
    assert not np.array_equal(nearby, with_gamma(3.0).generator().sample(7, labels, seed=0))
    distances = cuts.cut_distances(
        run, StudyData({"train": labeled}), lambda *_: None, list(cuts.CUTS)
    )
    assert list(distances) == [column.number for column in cuts.CUT_COLUMNS]
    assert len(set(distances.values())) == 2


@pytest.mark.usefixtures("no_images")
def test_gray_samples_with_a_cut_are_compared_with_gray_images(
    picture_folders, train_run, tmp_path
) -> None:
    gray = pack(open_source(str(picture_folders)), tmp_path / "gray", 32, colors="gray")
    run_folder = train_run(tmp_path / "run", gray, steps=1, colors="gray")
    run = StudyRun(
        "attention", "attention-16", resolve("smoke", {}), "smoke", run_folder, samples=7
    )
    found = cuts.cut_distances(run, StudyData({"train": gray}), lambda *_: None, [cuts.WITHOUT])
    assert len(found) == 1


@pytest.mark.usefixtures("no_images")
def test_a_generator_without_attention_has_no_samples_with_a_cut(
    labeled, train_run, tmp_path
) -> None:
    run_folder = train_run(tmp_path / "run", labeled, steps=1, attention_g=())
    run = StudyRun("attention", "none", resolve("smoke", {}), "smoke", run_folder, samples=7)
    assert not list(cuts.samples_with_cuts(run, StudyData({"train": labeled}), list(cuts.CUTS)))


def test_the_share_of_attention_inside_a_region_is_counted_by_hand() -> None:
    """Keys are the four quarters of an 8 x 8 image, queries its 2 x 2 blocks; one image counts."""
    region = np.zeros((2, 8, 8), dtype=bool)
    region[0, :4, :4] = True  # one key, four queries
    region[0, 7, 7] = True  # one of four pixels: no query
    attention = np.full((2, 16, 4), 0.25)
    inside = [0, 1, 4, 5]
    attention[0, inside[0]] = [1, 0, 0, 0]
    attention[0, inside[1]] = [0.5, 0.5, 0, 0]
    assert objects.share_inside(attention, region) == pytest.approx(
        ((1 + 0.5 + 2 * 0.25) / 4, 0.25)
    )
    assert np.isnan(objects.share_inside(attention[1:], region[1:])).all()


def test_attention_on_the_object_is_read_in_samples_and_in_training_images(
    finished_run, labeled
) -> None:
    run = StudyRun("parts", "attention-16", resolve("smoke", {}), "smoke", finished_run, samples=7)
    numbers = objects.object_numbers(run, StudyData({"train": labeled}))
    assert list(numbers) == [column.number for column in objects.OBJECT_COLUMNS]
    # Hardly trained attention is nearly uniform, whatever is drawn.
    of_g, uniform_g, of_d, uniform_d = numbers.values()
    assert of_g == pytest.approx(uniform_g, abs=0.1)
    assert of_d == pytest.approx(uniform_d, abs=0.1)


def test_a_diverged_training_has_no_share_of_attention_on_the_object(
    finished_run, labeled, monkeypatch
) -> None:
    attention = SelfAttention2d.attention
    monkeypatch.setattr(SelfAttention2d, "attention", lambda self, x: attention(self, x) * np.nan)
    run = StudyRun("parts", "attention-16", resolve("smoke", {}), "smoke", finished_run, samples=7)
    assert objects.object_numbers(run, StudyData({"train": labeled})) == {}


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
