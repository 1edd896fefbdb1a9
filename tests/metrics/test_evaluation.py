"""Evaluation of a trained model: what is computed, what is recorded, what is refused."""

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sagan.data import PackedDataset, open_source, pack
from sagan.data.packed import fingerprint_of
from sagan.errors import SaganError
from sagan.metrics import METRICS, SamplePlan, evaluate
from sagan.metrics.comparison import compare
from sagan.metrics.features.network import FeatureNetwork
from sagan.metrics.measures.density_coverage import density_coverage
from sagan.metrics.measures.distances import Neighbors
from sagan.metrics.measures.frechet import frechet_distance
from sagan.metrics.measures.inputs import Features, MetricInputs
from sagan.metrics.neighbors import samples_to_show
from sagan.metrics.protocol import published_name
from sagan.metrics.samples import ModelSamples, Samples
from sagan.model import Model, export_model, open_model

PLAN = SamplePlan(num=36)


@pytest.fixture(scope="module")
def model(finished_run: Path) -> Model:
    return open_model(finished_run)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    """12 other images of the same 3 classes, as another split."""
    root = tmp_path_factory.mktemp("unseen")
    rng = np.random.default_rng(7)
    for i in range(12):
        folder = root / "test" / f"class{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return pack(open_source(str(root), "test"), root / "packed", 32)


def features_of(network: FeatureNetwork, images: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(np.array(images)))[0].numpy()


def test_the_numbers_are_those_of_the_planned_samples(model, labeled, tiny_network) -> None:
    document = evaluate(
        model, labeled, metrics=["fid", "coverage"], network=tiny_network, plan=PLAN
    )
    # Labels in the proportions of the 18 images: 8, 6 and 4.
    labels = np.sort(np.repeat([0, 1, 2], [16, 12, 8]))
    order = np.concatenate([(np.arange(n) + 0.5) / n for n in (16, 12, 8)])
    labels = labels[np.argsort(order, kind="stable")]
    images = model.generator().sample(36, labels, seed=0)
    fake, real = features_of(tiny_network, images), features_of(tiny_network, labeled.images)
    found = document["metrics"]
    assert found["FD-Tiny"] == pytest.approx(frechet_distance(fake, real), rel=1e-4)
    assert found["coverage"] == density_coverage(fake[:18], real)[1]
    assert found.keys() == {"FD-Tiny", "coverage"}


def test_all_metrics_can_be_computed_together(
    model, labeled, unseen, tiny_network, tmp_path
) -> None:
    reported = []
    metrics = [name for name in METRICS if name != "parts"]  # of faces, by a network of its own
    document = evaluate(
        model, unseen, train=labeled, metrics=metrics, network=tiny_network, plan=PLAN,
        neighbors=tmp_path / "neighbors.png", progress=lambda *progress: reported.append(progress),
    )  # fmt: skip
    names = [published_name(name, tiny_network) for name in metrics]
    assert set(names) == document["better"].keys()
    further = {
        "KD-Tiny/std", "IS-Tiny/std", "class-accuracy/real", "near-copies/nearer",
        "near-copies/new", "intra-FD-Tiny/classes", "gan-train/real",
    }  # fmt: skip
    assert document["metrics"].keys() == {*names, *further}
    assert all(np.isfinite(value) for value in document["metrics"].values())
    assert document == json.loads(json.dumps(document, allow_nan=False))
    with Image.open(tmp_path / "neighbors.png") as image:
        assert min(image.size) > 300
    assert ("samples", 36, 36) in reported
    assert ("precision and recall", 1, 1) in reported


def test_the_same_plan_gives_the_same_numbers_and_another_seed_gives_others(
    model, labeled, tiny_network
) -> None:
    def numbers(**changes: Any) -> dict[str, float]:
        plan = replace(PLAN, **changes)
        metrics = ["fid", "kid", "is"]
        return evaluate(model, labeled, metrics=metrics, network=tiny_network, plan=plan)["metrics"]

    assert numbers() == numbers()
    for change in ({"seed": 1}, {"truncation": 0.5}, {"weights": "raw"}, {"num": 40}):
        assert numbers()["FD-Tiny"] != numbers(**change)["FD-Tiny"], change


def test_an_evaluation_does_not_change_the_run(finished_run, labeled, tiny_network) -> None:
    before = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    evaluate(finished_run, labeled, network=tiny_network, plan=PLAN)
    after = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    assert before == after


def test_the_protocol_names_images_weights_and_samples(
    model, labeled, unseen, tiny_network
) -> None:
    plan = SamplePlan(30, seed=3, truncation=0.7, weights="raw")
    metrics = ["kid", "near-copies"]
    document = evaluate(
        model, unseen, train=labeled, metrics=metrics, network=tiny_network, plan=plan
    )
    protocol = document["protocol"]
    assert protocol["features"]["network"] == "tiny"
    assert protocol["features"]["weights"] == "0" * 64
    assert protocol["features"]["preprocessing"] == "none"
    reference = protocol["reference"]
    assert (reference["fingerprint"], reference["split"]) == (unseen.fingerprint, "test")
    assert (reference["pictures"], reference["size"]) == (12, 32)
    samples = protocol["samples"]
    assert [samples[key] for key in ("pictures", "seed", "truncation", "weights")] == [
        30, 3, 0.7, "raw",
    ]  # fmt: skip
    assert samples["batch norm"] == "running statistics"
    assert samples["labels"] == "as often as in the reference"
    near = protocol["metrics"]["near-copies"]
    assert near["train"]["fingerprint"] == labeled.fingerprint
    assert near["trained on these"] == "yes"


def test_the_recorded_hash_identifies_the_weights_wherever_they_are(
    model, labeled, tiny_network, tmp_path
) -> None:
    def weights(model: Model, **changes: Any) -> str:
        plan = replace(PLAN, **changes)
        document = evaluate(model, labeled, metrics=["kid"], network=tiny_network, plan=plan)
        return document["model"]["sha256"]

    export_model(model, tmp_path / "model.safetensors")
    assert weights(model) == weights(open_model(tmp_path / "model.safetensors"))
    assert weights(model) != weights(model, weights="raw")


@pytest.mark.parametrize(
    ("fingerprint", "recorded", "noted"), [("f" * 64, "no", True), ("", "unknown", False)]
)
def test_a_note_says_if_the_model_was_not_trained_on_the_train_split(
    model, labeled, tiny_network, fingerprint, recorded, noted
) -> None:
    model = replace(model, fingerprint=fingerprint)
    document = evaluate(model, labeled, metrics=["near-copies"], network=tiny_network, plan=PLAN)
    assert document["protocol"]["metrics"]["near-copies"]["trained on these"] == recorded
    assert noted is any("not what the model was trained on" in line for line in document["notes"])


def test_a_note_says_if_the_discriminator_looks_through_the_same_features(labeled) -> None:
    projected = ModelSamples(open_model("cifar10-32"), PLAN)
    assert "flatters" in "".join(projected.notes(labeled, "efficientnet-lite0"))
    assert "flatters" not in "".join(projected.notes(labeled, "inception"))
    other = ModelSamples(open_model("openmoji-64"), PLAN)
    assert "flatters" not in "".join(other.notes(labeled, "efficientnet-lite0"))


def test_a_note_says_if_images_were_made_square_in_another_way(
    model, labeled, tiny_network
) -> None:
    def notes(fit: str) -> str:
        document = evaluate(
            replace(model, fit=fit), labeled, metrics=["kid"], network=tiny_network, plan=PLAN
        )
        return "\n".join(document["notes"])

    assert "proportions by pad, the reference's by crop" in notes("pad")
    assert "square" not in notes("crop")


class Copier(nn.Module):
    """A generator that returns given images, one after the other."""

    latent_size = 1

    def __init__(self, images: np.ndarray) -> None:
        super().__init__()
        self.images, self.at = images, 0

    def sample(self, num: int, *_: object, **__: object) -> np.ndarray:
        rows = np.arange(self.at, self.at + num) % len(self.images)
        self.at += num
        return self.images[rows]


def copies_among(
    model: Model, samples: np.ndarray, reference: PackedDataset, train: PackedDataset, network: Any,
    monkeypatch: pytest.MonkeyPatch, metric: str = "near-copies",
) -> dict[str, float]:  # fmt: skip
    monkeypatch.setattr(Model, "generator", lambda *_: Copier(np.array(samples)))
    return evaluate(model, reference, train=train, metrics=[metric], network=network, plan=PLAN)[
        "metrics"
    ]


def repacked(dataset: PackedDataset, *parts: PackedDataset) -> PackedDataset:
    """Return the images of several sets as one set."""
    whole = replace(
        dataset,
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
    )
    return replace(whole, fingerprint=fingerprint_of(whole))


def test_copies_are_found_whether_or_not_the_reference_has_training_images(
    model, labeled, unseen, tiny_network, monkeypatch
) -> None:
    """Training images in the reference do not count as new images."""
    everything = repacked(labeled, labeled, unseen)
    for reference, new in ((unseen, 12), (everything, 12), (labeled, 18)):
        found = copies_among(model, labeled.images, reference, labeled, tiny_network, monkeypatch)
        assert found["near-copies"] == 1, reference.split
        assert found["near-copies/new"] == new


def test_copies_are_found_even_if_training_images_are_duplicated(
    model, labeled, tiny_network, monkeypatch
) -> None:
    """Otherwise the distance between training images, the yardstick, would be 0."""
    twice = repacked(labeled, labeled, labeled)
    found = copies_among(model, labeled.images, twice, twice, tiny_network, monkeypatch)
    assert found["near-copies"] == 1
    assert found["near-copies/new"] == 18


def test_the_classifier_is_not_scored_on_images_that_it_was_fitted_on(
    model, labeled, unseen, tiny_network, monkeypatch
) -> None:
    def real(reference: PackedDataset) -> float | None:
        found = copies_among(
            model, labeled.images, reference, labeled, tiny_network, monkeypatch,
            "class-accuracy",
        )  # fmt: skip
        return found.get("class-accuracy/real")

    assert real(unseen) == real(repacked(labeled, labeled, unseen))
    assert real(labeled) is None


def test_a_note_on_bias_appears_only_with_few_images_for_many_features(
    model, labeled, tiny_network
) -> None:
    def notes(width: int) -> str:
        network = replace(tiny_network, width=width, module=_First(tiny_network.module, width))
        document = evaluate(model, labeled, metrics=["fid"], network=network, plan=PLAN)
        return "\n".join(document["notes"])

    assert "biased" not in notes(3)
    assert "18 images are few for 4 features" in notes(4)
    assert "KD-Tiny" in notes(4)


def _First(module, width):  # noqa: N802 -- a class, in effect
    class First(nn.Module):
        """The first features of another network."""

        def forward(self, images):
            features, logits = module(images)
            return features[:, :width], logits

    return First()


def test_unconditional_models_are_evaluated_on_unlabeled_images(
    unlabeled, train_run, tiny_network, tmp_path, no_images
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=1)
    document = evaluate(run, unlabeled, network=tiny_network, plan=PLAN)
    assert document["protocol"]["samples"]["labels"] == "none"
    with pytest.raises(SaganError, match="conditional"):
        evaluate(run, unlabeled, metrics=["intra-fid"], network=tiny_network, plan=PLAN)


def test_with_unlabeled_images_a_conditional_model_generates_classes_equally_often(
    model, unlabeled, tiny_network
) -> None:
    document = evaluate(model, unlabeled, metrics=["kid"], network=tiny_network, plan=PLAN)
    assert document["protocol"]["samples"]["labels"] == "equally often"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": ["fib"]}, ("fib", "fid")),
        ({"metrics": ["density"], "plan": SamplePlan(num=5)}, ("density", "6")),
        (
            {"metrics": ["class-accuracy"], "classes": ("a", "b", "c")},
            ("class0", "model's classes"),
        ),
        ({"metrics": ["is"], "logits": 0}, ("is", "classifier")),
        ({"metrics": ["fid"], "resolution": 64}, ("64 x 64", "32 x 32", "--size 64")),
        ({"metrics": ["is"], "plan": SamplePlan(num=9)}, ("is", "10")),
        ({"metrics": ["intra-fid"], "plan": SamplePlan(num=2)}, ("intra-fid", "two samples")),
        ({"metrics": ["class-accuracy"], "labels": 0}, ("class-accuracy", "has one class")),
        ({"metrics": ["kid"], "plan": replace(PLAN, truncation=math.nan)}, ("truncation", "nan")),
        ({"metrics": ["fid"], "neighbors": Path("near.jpeg")}, ("near.jpeg", ".png")),
    ],
)
def test_mistakes_are_refused_in_one_line_before_anything_is_computed(
    model, labeled, tiny_network, changes, words
) -> None:
    if "resolution" in changes:
        config = model.config.model_copy(update={"resolution": changes["resolution"]})
        model = replace(model, config=config)
    if "classes" in changes:
        labeled = replace(labeled, classes=changes["classes"])
    if "labels" in changes:
        labeled = replace(labeled, labels=np.full(len(labeled), changes["labels"]))
    network = replace(tiny_network, num_logits=changes.get("logits", tiny_network.num_logits))
    with pytest.raises(SaganError) as error:
        evaluate(
            model, labeled, metrics=changes["metrics"], network=network,
            plan=changes.get("plan", PLAN), neighbors=changes.get("neighbors"),
        )  # fmt: skip
    assert all(word in str(error.value) for word in words), error.value
    assert tiny_network.module.seen == 0


def test_samples_do_not_depend_on_the_part_that_is_generated(model) -> None:
    samples = Samples(model.generator(), 10, np.arange(10) % 3, seed=5)
    whole = samples.draw(0, 10)
    for start, stop in ((0, 3), (3, 4), (7, 10)):
        difference = samples.draw(start, stop).astype(int) - whole[start:stop]
        assert np.abs(difference).max() <= 1  # rounding of another batch size


def test_samples_and_features_are_computed_by_cudnn_in_full_float32(
    model, labeled, tiny_network, monkeypatch
) -> None:
    """As the protocol says: TensorFloat-32, cuDNN's default, has a mantissa of ten bits."""
    cudnn, seen = torch.backends.cudnn, []
    generator, module = type(model.generator()), type(tiny_network.module)
    for network in (generator, module):
        forward = network.forward

        def watched(self, *given, forward=forward):
            seen.append((type(self), cudnn.enabled, cudnn.allow_tf32))
            return forward(self, *given)

        monkeypatch.setattr(network, "forward", watched)
    evaluate(model, labeled, metrics=["kid"], network=tiny_network, plan=PLAN)
    assert set(seen) == {(generator, True, False), (module, True, False)}


# --- Comparing


@pytest.fixture
def document(model, labeled, unseen, tiny_network) -> dict[str, Any]:
    return evaluate(
        model, unseen, train=labeled, metrics=["fid", "kid", "recall", "near-copies"],
        network=tiny_network, plan=PLAN,
    )  # fmt: skip


def saved(folder: Path, name: str, document: dict[str, Any]) -> Path:
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def leaves(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


def test_evaluations_of_one_protocol_are_ranked_by_each_metrics_better_direction(
    document, tmp_path
) -> None:
    other = copy.deepcopy(document)
    other["model"]["origin"] = "another"
    other["metrics"]["FD-Tiny"] -= 1
    other["metrics"]["recall"] -= 0.5
    rows = compare(saved(tmp_path, "a", document), saved(tmp_path, "b", other))
    assert {row.metric: row.better for row in rows} == {
        "FD-Tiny": "B", "KD-Tiny": "neither", "recall": "A", "near-copies": "neither",
    }  # fmt: skip


def test_fewer_near_copies_are_not_better(document, tmp_path) -> None:
    """A model far from the data has none; a perfect model has a hundredth."""
    other = copy.deepcopy(document)
    other["metrics"]["near-copies"] = 0.5
    rows = compare(saved(tmp_path, "a", document), saved(tmp_path, "b", other))
    assert [row.better for row in rows if row.metric == "near-copies"] == ["neither"]


def test_evaluations_that_disagree_about_the_better_direction_are_refused(
    document, tmp_path
) -> None:
    other = copy.deepcopy(document)
    other["better"]["recall"] = "lower"
    with pytest.raises(SaganError, match="better recall: higher and lower"):
        compare(saved(tmp_path, "a", document), saved(tmp_path, "b", other))


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("features", "weights"), ("reference", "fingerprint"), ("samples", "pictures"),
        ("metrics", "recall"),
    ],
)  # fmt: skip
def test_protocols_that_lack_the_same_key_do_not_agree(document, tmp_path, part, key) -> None:
    other = copy.deepcopy(document)
    del other["protocol"][part][key]
    file = saved(tmp_path, "a", other)
    with pytest.raises(SaganError, match=f"{part} says nothing about {key}"):
        compare(file, file)


def test_any_difference_in_the_protocol_is_refused_and_named(document, tmp_path) -> None:
    one = saved(tmp_path, "a", document)
    paths = list(leaves(document["protocol"]))
    assert len(paths) > 20
    for path in paths:
        other = copy.deepcopy(document)
        inner = other["protocol"]
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = "something else"
        with pytest.raises(SaganError, match="something else") as error:
            compare(one, saved(tmp_path, "b", other))
        assert path[-1] in str(error.value)
        assert "\n" not in str(error.value)


def test_truncation_1_and_1_0_are_the_same_protocol(model, labeled, tiny_network, tmp_path) -> None:
    files = [
        saved(
            tmp_path,
            str(name),
            evaluate(
                model, labeled, metrics=["kid"], network=tiny_network,
                plan=replace(PLAN, truncation=truncation),
            ),
        )
        for name, truncation in enumerate((1, 1.0))
    ]  # fmt: skip
    assert [row.better for row in compare(*files)] == ["neither"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(document, tmp_path, number) -> None:
    other = copy.deepcopy(document)
    other["metrics"]["KD-Tiny"] = number
    with pytest.raises(SaganError, match="KD-Tiny"):
        compare(saved(tmp_path, "a", document), saved(tmp_path, "b", other))


@pytest.mark.parametrize("part", ["features", "reference", "samples", "metrics"])
def test_a_document_without_its_whole_protocol_is_refused(document, tmp_path, part) -> None:
    other = copy.deepcopy(document)
    del other["protocol"][part]
    file = saved(tmp_path, "a", other)
    with pytest.raises(SaganError, match=f"nothing about {part}"):
        compare(file, file)


def test_metrics_that_only_one_evaluation_has_are_ignored(document, tmp_path) -> None:
    other = copy.deepcopy(document)
    for part in (other["metrics"], other["better"], other["protocol"]["metrics"]):
        del part["near-copies"]
    rows = compare(saved(tmp_path, "a", document), saved(tmp_path, "b", other))
    assert {row.metric for row in rows} == {"FD-Tiny", "KD-Tiny", "recall"}


def test_evaluations_without_a_common_metric_are_refused(document, tmp_path) -> None:
    other = copy.deepcopy(document)
    other["metrics"], other["better"], other["protocol"]["metrics"] = {}, {}, {}
    with pytest.raises(SaganError, match="no metric in common"):
        compare(saved(tmp_path, "a", document), saved(tmp_path, "b", other))


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", "null", '{"format": 2}', "\x00", '{"metrics": {"a": "b"}}']
)
def test_files_that_are_not_evaluations_are_refused_in_one_line(
    content, document, tmp_path
) -> None:
    (tmp_path / "b").write_text(content)
    with pytest.raises(SaganError, match=r"b' was not written by sagan evaluate") as error:
        compare(saved(tmp_path, "a", document), tmp_path / "b")
    assert "\n" not in str(error.value)


def test_class_accuracy_compares_samples_with_the_requested_labels(
    model, labeled, tiny_network, monkeypatch
) -> None:
    """A model that always generates the first class is right for 16 of 36 labels."""
    found = copies_among(
        model, labeled.images[:8], labeled, labeled, tiny_network, monkeypatch, "class-accuracy"
    )
    assert found["class-accuracy"] == pytest.approx(16 / 36)


def test_a_model_of_a_single_image_has_precision_and_no_recall(
    model, labeled, tiny_network, monkeypatch
) -> None:
    def found(metric: str) -> float:
        one = labeled.images[4:5]
        return copies_among(model, one, labeled, labeled, tiny_network, monkeypatch, metric)[metric]

    assert found("precision") == 1
    assert found("recall") == pytest.approx(1 / 18)  # that image itself


def test_the_intra_class_distance_uses_the_requested_classes(model, labeled, tiny_network) -> None:
    document = evaluate(model, labeled, metrics=["intra-fid"], network=tiny_network, plan=PLAN)
    numbers = (16, 12, 8)  # in the proportions of the 18 images, and evenly spread
    order = np.concatenate([(np.arange(n) + 0.5) / n for n in numbers])
    labels = np.repeat([0, 1, 2], numbers)[np.argsort(order, kind="stable")]
    fake = features_of(tiny_network, model.generator().sample(36, labels, seed=0))
    real = features_of(tiny_network, labeled.images)
    distances = [frechet_distance(fake[labels == c], real[labeled.labels == c]) for c in range(3)]
    assert document["metrics"]["intra-FD-Tiny"] == pytest.approx(np.mean(distances), rel=1e-3)


def test_few_samples_are_compared_with_images_from_the_whole_reference() -> None:
    """Sets are sorted by class, so that the first images, copied here, would be of one class."""
    reference = np.random.default_rng(0).standard_normal((18, 4)).astype(np.float32)
    reference[9:] += 100
    nothing, none = np.empty((9, 0), np.float32), np.arange(0)
    real, samples = Features(reference, None), Features(reference[:9].copy(), None)
    inputs = MetricInputs(samples, nothing, real, real, none, none, seed=0)
    found = METRICS["recall"].run(inputs)
    assert found["recall"] == pytest.approx(5 / 9)


def test_the_samples_nearest_to_a_training_image_are_shown_first() -> None:
    distances = np.array([5.0, 1, 9, 2, 8, 3, 7, 4, 6, 10, 0])
    shown = samples_to_show(Neighbors(distances[:, None], np.zeros((11, 1), np.int64)))
    assert shown == [10, 1, 3, 5, 7, 0, 8, 6, *range(8)]
