"""From a trained model to numbers: what is computed, what is stamped on it, what is refused."""

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

from sagan.data import PackedDataset, pack
from sagan.data.packed import fingerprint_of
from sagan.errors import SaganError
from sagan.metrics import METRICS, SamplePlan, evaluate
from sagan.metrics.comparison import compare
from sagan.metrics.features.network import FeatureNetwork
from sagan.metrics.measures.density_coverage import density_coverage
from sagan.metrics.measures.distances import Neighbors
from sagan.metrics.measures.frechet import frechet_distance
from sagan.metrics.measures.inputs import Rows, Subject
from sagan.metrics.neighbors import suspects
from sagan.metrics.protocol import published_name
from sagan.metrics.samples import Samples
from sagan.model import Model, export_model, open_model

PLAN = SamplePlan(num=36)


@pytest.fixture(scope="module")
def model(finished_run: Path) -> Model:
    return open_model(finished_run)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    """12 other pictures of the same 3 classes, as another split."""
    root = tmp_path_factory.mktemp("unseen")
    random = np.random.default_rng(7)
    for i in range(12):
        folder = root / "test" / f"class{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return pack(str(root), root / "packed", 32, split="test")


def features_of(network: FeatureNetwork, images: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(np.array(images)))[0].numpy()


def test_the_numbers_are_those_of_the_samples_that_the_plan_names(
    model, labeled, tiny_network
) -> None:
    document = evaluate(
        model, labeled, metrics=["fid", "coverage"], network=tiny_network, plan=PLAN
    )
    # Labels as often as among the 18 pictures: 8, 6 and 4.
    labels = np.sort(np.repeat([0, 1, 2], [16, 12, 8]))
    order = np.concatenate([(np.arange(n) + 0.5) / n for n in (16, 12, 8)])
    labels = labels[np.argsort(order, kind="stable")]
    images = model.generator().sample(36, labels, seed=0)
    fake, real = features_of(tiny_network, images), features_of(tiny_network, labeled.images)
    found = document["metrics"]
    assert found["FD-Tiny"] == pytest.approx(frechet_distance(fake, real), rel=1e-4)
    assert found["coverage"] == density_coverage(fake[:18], real)[1]
    assert found.keys() == {"FD-Tiny", "coverage"}


def test_every_metric_can_be_had_at_once(model, labeled, unseen, tiny_network, tmp_path) -> None:
    told = []
    document = evaluate(
        model, unseen, train=labeled, metrics=list(METRICS), network=tiny_network, plan=PLAN,
        neighbors=tmp_path / "neighbors.png", progress=lambda *progress: told.append(progress),
    )  # fmt: skip
    names = [published_name(name, tiny_network) for name in METRICS]
    assert set(names) == document["better"].keys()
    further = {
        "KD-Tiny/std", "IS-Tiny/std", "class-accuracy/real", "near-copies/nearer",
        "near-copies/new", "intra-FD-Tiny/classes",
    }  # fmt: skip
    assert document["metrics"].keys() == {*names, *further}
    assert all(np.isfinite(value) for value in document["metrics"].values())
    assert document == json.loads(json.dumps(document, allow_nan=False))
    with Image.open(tmp_path / "neighbors.png") as picture:
        assert min(picture.size) > 300
    assert ("samples", 36, 36) in told
    assert ("precision and recall", 1, 1) in told


def test_the_same_request_gives_the_same_numbers_and_another_seed_others(
    model, labeled, tiny_network
) -> None:
    def numbers(**changes: Any) -> dict[str, float]:
        plan = replace(PLAN, **changes)
        metrics = ["fid", "kid", "is"]
        return evaluate(model, labeled, metrics=metrics, network=tiny_network, plan=plan)["metrics"]

    assert numbers() == numbers()
    for change in ({"seed": 1}, {"truncation": 0.5}, {"weights": "raw"}, {"num": 40}):
        assert numbers()["FD-Tiny"] != numbers(**change)["FD-Tiny"], change


def test_the_model_is_the_same_after_an_evaluation_as_before(
    finished_run, labeled, tiny_network
) -> None:
    before = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    evaluate(finished_run, labeled, network=tiny_network, plan=PLAN)
    after = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    assert before == after


def test_the_stamp_says_which_pictures_weights_and_samples(
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


def test_a_number_names_the_weights_that_it_is_of_wherever_they_are(
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
    ("fingerprint", "stamp", "told"), [("f" * 64, "no", True), ("", "unknown", False)]
)
def test_a_train_split_that_the_model_was_not_trained_on_is_told(
    model, labeled, tiny_network, fingerprint, stamp, told
) -> None:
    model = replace(model, fingerprint=fingerprint)
    document = evaluate(model, labeled, metrics=["near-copies"], network=tiny_network, plan=PLAN)
    assert document["protocol"]["metrics"]["near-copies"]["trained on these"] == stamp
    assert told is any("not what the model was trained on" in line for line in document["notes"])


def test_real_pictures_made_square_in_another_way_are_told(model, labeled, tiny_network) -> None:
    def notes(fit: str) -> str:
        document = evaluate(
            replace(model, fit=fit), labeled, metrics=["kid"], network=tiny_network, plan=PLAN
        )
        return "\n".join(document["notes"])

    assert "square by pad, the reference's by crop" in notes("pad")
    assert "square" not in notes("crop")


class Copier(nn.Module):
    """A generator that draws some pictures, one after the other."""

    latent_size = 1

    def __init__(self, pictures: np.ndarray) -> None:
        super().__init__()
        self.pictures, self.at = pictures, 0

    def sample(self, num: int, *_: object, **__: object) -> np.ndarray:
        rows = np.arange(self.at, self.at + num) % len(self.pictures)
        self.at += num
        return self.pictures[rows]


def copies_among(
    model: Model, drawn: np.ndarray, reference: PackedDataset, train: PackedDataset, network: Any,
    monkeypatch: pytest.MonkeyPatch, metric: str = "near-copies",
) -> dict[str, float]:  # fmt: skip
    monkeypatch.setattr(Model, "generator", lambda *_: Copier(np.array(drawn)))
    return evaluate(model, reference, train=train, metrics=[metric], network=network, plan=PLAN)[
        "metrics"
    ]


def repacked(dataset: PackedDataset, *parts: PackedDataset) -> PackedDataset:
    """The pictures of several sets as one."""
    whole = replace(
        dataset,
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
    )
    return replace(whole, fingerprint=fingerprint_of(whole))


def test_copies_are_found_among_unseen_pictures_of_all_and_of_none(
    model, labeled, unseen, tiny_network, monkeypatch
) -> None:
    """Whatever of the training pictures is in the reference is no new picture."""
    everything = repacked(labeled, labeled, unseen)
    for reference, new in ((unseen, 12), (everything, 12), (labeled, 18)):
        found = copies_among(model, labeled.images, reference, labeled, tiny_network, monkeypatch)
        assert found["near-copies"] == 1, reference.split
        assert found["near-copies/new"] == new


def test_copies_are_found_where_training_pictures_are_copies_of_each_other(
    model, labeled, tiny_network, monkeypatch
) -> None:
    """Or their nearest others, with which samples are compared, would be at no distance."""
    twice = repacked(labeled, labeled, labeled)
    found = copies_among(model, labeled.images, twice, twice, tiny_network, monkeypatch)
    assert found["near-copies"] == 1
    assert found["near-copies/new"] == 18


def test_a_classifier_is_not_judged_by_pictures_that_it_was_fitted_on(
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


def test_few_pictures_for_many_features_are_called_biased_and_many_are_not(
    model, labeled, tiny_network
) -> None:
    def notes(width: int) -> str:
        network = replace(tiny_network, width=width, module=_First(tiny_network.module, width))
        document = evaluate(model, labeled, metrics=["fid"], network=network, plan=PLAN)
        return "\n".join(document["notes"])

    assert "biased" not in notes(3)
    assert "18 pictures are few for 4 features" in notes(4)
    assert "KD-Tiny" in notes(4)


def _First(module, width):  # noqa: N802 -- a class, in effect
    class First(nn.Module):
        """The first features of another network."""

        def forward(self, images):
            features, logits = module(images)
            return features[:, :width], logits

    return First()


def test_unconditional_models_and_unlabeled_pictures_are_evaluated_too(
    unlabeled, train_run, tiny_network, tmp_path, no_images
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=1)
    document = evaluate(run, unlabeled, network=tiny_network, plan=PLAN)
    assert document["protocol"]["samples"]["labels"] == "none"
    with pytest.raises(SaganError, match="conditional"):
        evaluate(run, unlabeled, metrics=["intra-fid"], network=tiny_network, plan=PLAN)


def test_a_conditional_model_draws_all_classes_equally_often_for_unlabeled_pictures(
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
        ({"metrics": ["class-accuracy"], "labels": 0}, ("class-accuracy", "pictures of one")),
        ({"metrics": ["kid"], "plan": replace(PLAN, truncation=math.nan)}, ("truncation", "nan")),
        ({"metrics": ["fid"], "neighbors": Path("near.jpeg")}, ("near.jpeg", ".png")),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_before_anything_is_computed(
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


def test_a_part_of_the_samples_is_what_it_is_in_the_whole(model) -> None:
    samples = Samples(model.generator(), 10, np.arange(10) % 3, seed=5)
    whole = samples.draw(0, 10)
    for start, stop in ((0, 3), (3, 4), (7, 10)):
        difference = samples.draw(start, stop).astype(int) - whole[start:stop]
        assert np.abs(difference).max() <= 1  # rounding of another batch size


def test_pictures_and_features_are_made_in_float32_by_the_fast_library(
    model, labeled, tiny_network, monkeypatch
) -> None:
    """As the protocol says: TensorFloat-32, which cuDNN would take, has ten bits of mantissa."""
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


def test_evaluations_of_one_protocol_are_ranked_by_what_is_better(document, tmp_path) -> None:
    other = copy.deepcopy(document)
    other["model"]["origin"] = "another"
    other["metrics"]["FD-Tiny"] -= 1
    other["metrics"]["recall"] -= 0.5
    rows = compare(saved(tmp_path, "a", document), saved(tmp_path, "b", other))
    assert {row.metric: row.better for row in rows} == {
        "FD-Tiny": "B", "KD-Tiny": "neither", "recall": "A", "near-copies": "neither",
    }  # fmt: skip


def test_fewer_near_copies_are_not_better(document, tmp_path) -> None:
    """A model far from the data has none; one that knows the data has a hundredth."""
    other = copy.deepcopy(document)
    other["metrics"]["near-copies"] = 0.5
    rows = compare(saved(tmp_path, "a", document), saved(tmp_path, "b", other))
    assert [row.better for row in rows if row.metric == "near-copies"] == ["neither"]


def test_evaluations_that_disagree_about_what_is_better_are_refused(document, tmp_path) -> None:
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
def test_protocols_that_are_silent_about_the_same_thing_do_not_agree(
    document, tmp_path, part, key
) -> None:
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


def test_the_same_truncation_is_the_same_protocol_however_it_was_given(
    model, labeled, tiny_network, tmp_path
) -> None:
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
def test_what_is_no_number_is_not_ranked(document, tmp_path, number) -> None:
    other = copy.deepcopy(document)
    other["metrics"]["KD-Tiny"] = number
    with pytest.raises(SaganError, match="KD-Tiny"):
        compare(saved(tmp_path, "a", document), saved(tmp_path, "b", other))


@pytest.mark.parametrize("part", ["features", "reference", "samples", "metrics"])
def test_a_number_without_its_whole_protocol_is_not_ranked(document, tmp_path, part) -> None:
    other = copy.deepcopy(document)
    del other["protocol"][part]
    file = saved(tmp_path, "a", other)
    with pytest.raises(SaganError, match=f"nothing about {part}"):
        compare(file, file)


def test_metrics_that_only_one_has_do_not_stand_in_the_way(document, tmp_path) -> None:
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
def test_other_files_than_evaluations_are_refused_in_one_line(content, document, tmp_path) -> None:
    (tmp_path / "b").write_text(content)
    with pytest.raises(SaganError, match=r"b is not what sagan evaluate") as error:
        compare(saved(tmp_path, "a", document), tmp_path / "b")
    assert "\n" not in str(error.value)


def test_class_accuracy_is_of_samples_and_the_labels_asked_for(
    model, labeled, tiny_network, monkeypatch
) -> None:
    """A model that draws the first class whatever is asked for is right 16 times of 36."""
    found = copies_among(
        model, labeled.images[:8], labeled, labeled, tiny_network, monkeypatch, "class-accuracy"
    )
    assert found["class-accuracy"] == pytest.approx(16 / 36)


def test_a_model_of_one_picture_has_precision_and_no_recall(
    model, labeled, tiny_network, monkeypatch
) -> None:
    def found(metric: str) -> float:
        one = labeled.images[4:5]
        return copies_among(model, one, labeled, labeled, tiny_network, monkeypatch, metric)[metric]

    assert found("precision") == 1
    assert found("recall") == pytest.approx(1 / 18)  # that picture itself


def test_the_distance_within_classes_is_of_the_classes_asked_for(
    model, labeled, tiny_network
) -> None:
    document = evaluate(model, labeled, metrics=["intra-fid"], network=tiny_network, plan=PLAN)
    numbers = (16, 12, 8)  # as often as among the 18, and evenly spread
    order = np.concatenate([(np.arange(n) + 0.5) / n for n in numbers])
    labels = np.repeat([0, 1, 2], numbers)[np.argsort(order, kind="stable")]
    fake = features_of(tiny_network, model.generator().sample(36, labels, seed=0))
    real = features_of(tiny_network, labeled.images)
    distances = [frechet_distance(fake[labels == c], real[labeled.labels == c]) for c in range(3)]
    assert document["metrics"]["intra-FD-Tiny"] == pytest.approx(np.mean(distances), rel=1e-3)


def test_fewer_samples_are_compared_with_real_pictures_of_the_whole_set() -> None:
    """Data sets come sorted by class: the first pictures would be of one. Here they are copied."""
    reference = np.random.default_rng(0).standard_normal((18, 4)).astype(np.float32)
    reference[9:] += 100
    nothing, none = np.empty((9, 0), np.float32), np.arange(0)
    real, samples = Rows(reference, None), Rows(reference[:9].copy(), None)
    subject = Subject(samples, nothing, real, real, none, none, seed=0)
    found = METRICS["recall"].run(subject)
    assert found["recall"] == pytest.approx(5 / 9)


def test_the_samples_shown_first_are_those_nearest_to_a_training_picture() -> None:
    distances = np.array([5.0, 1, 9, 2, 8, 3, 7, 4, 6, 10, 0])
    shown = suspects(Neighbors(distances[:, None], np.zeros((11, 1), np.int64)))
    assert shown == [10, 1, 3, 5, 7, 0, 8, 6, *range(8)]
