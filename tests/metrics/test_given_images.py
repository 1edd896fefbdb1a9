"""Images that any generator made are measured as a model's samples are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sagan.data import PackedDataset, open_source, pack
from sagan.errors import SaganError
from sagan.gallery import write_samples
from sagan.images.pixels import to_float
from sagan.metrics import ImageMetrics, SamplePlan, evaluate
from sagan.metrics.comparison import compare, open_conditions
from sagan.metrics.opening import are_numbered
from sagan.model import Model, open_model

NUM = 60
METRICS = [
    *("fid", "kid", "is", "precision", "recall", "density", "coverage"),
    *("intra-fid", "class-accuracy", "gan-train", "near-copies"),
]


@pytest.fixture(scope="module")
def cifar() -> Model:
    return open_model("cifar10-32")


@pytest.fixture(scope="module")
def real(cifar: Model, tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    """Noise in the classes of `cifar10-32`, four images of each."""
    root = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    for name in cifar.classes:
        (root / name).mkdir()
        for i in range(4):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return pack(open_source(str(root)), root / "packed", 32)


@pytest.fixture(scope="module")
def folder(cifar: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of `cifar10-32` as PNGs, as `sagan sample` writes them."""
    out = tmp_path_factory.mktemp("samples") / "cifar"
    write_samples(cifar.generator(), out, NUM, None, cifar.classes, 0, 1.0)
    return out


def noise(num: int, seed: int = 0, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, side, side, 3), dtype=np.uint8)


def save(folder: Path, images: np.ndarray, name: str = "{:03d}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / name.format(i))
    return folder


def test_a_folder_of_a_models_samples_has_the_numbers_of_the_model(
    cifar, real, folder, tiny_network
) -> None:
    plan = SamplePlan(num=NUM)
    of_model = evaluate(cifar, real, metrics=METRICS, network=tiny_network, plan=plan)
    of_files = evaluate(folder, real, metrics=METRICS, network=tiny_network)
    assert of_files["metrics"].keys() == of_model["metrics"].keys()
    # To the rounding of pixels, which the batch size may change.
    assert of_files["metrics"] == pytest.approx(of_model["metrics"], rel=1e-3, abs=1e-6)


def test_a_zip_has_the_numbers_of_the_folder(real, folder, cifar, tiny_network, tmp_path) -> None:
    write_samples(cifar.generator(), tmp_path / "s.zip", NUM, None, cifar.classes, 0, 1.0)
    found = [
        evaluate(files, real, metrics=["fid", "intra-fid"], network=tiny_network)["metrics"]
        for files in (folder, tmp_path / "s.zip")
    ]
    assert found[0] == pytest.approx(found[1])


def test_images_in_memory_have_the_numbers_of_the_same_images_in_files(
    cifar, real, folder, tiny_network
) -> None:
    labels = np.arange(NUM) % 10
    images = cifar.generator().sample(NUM, labels, seed=0)
    of_files = evaluate(folder, real, metrics=METRICS, network=tiny_network)["metrics"]
    as_floats = to_float(torch.from_numpy(images))
    for given in (images, torch.from_numpy(images).permute(0, 3, 1, 2), as_floats):
        found = evaluate(
            (given, labels), real, metrics=METRICS, network=tiny_network, value_range=(-1, 1)
        )
        assert found["metrics"] == pytest.approx(of_files, rel=1e-3, abs=1e-6)


def test_both_sides_may_be_in_memory_and_leave_nothing_in_the_cache(
    tiny_network, metrics_cache
) -> None:
    found = evaluate(noise(12), noise(12), metrics=["fid", "precision"], network=tiny_network)
    assert found["metrics"]["FD-Tiny"] == pytest.approx(0, abs=1e-3)
    assert found["metrics"]["precision"] == 1
    assert not metrics_cache.exists()


def test_the_protocol_states_what_is_known_and_nothing_else(real, folder, tiny_network) -> None:
    samples = evaluate(folder, real, metrics=["kid"], network=tiny_network)["protocol"]["samples"]
    assert samples["pictures"] == NUM
    assert samples["labels"] == "as often as in the reference"
    for unknown in ("weights", "batch norm", "truncation", "precision"):
        assert samples[unknown] == "not stated"


def test_folders_and_models_are_ranked_alike(cifar, real, folder, tiny_network, tmp_path) -> None:
    def saved(name: str, given: object, num: int) -> Path:
        found = evaluate(
            given, real, metrics=["fid", "near-copies"], network=tiny_network, plan=SamplePlan(num)
        )
        (tmp_path / name).write_text(json.dumps(found))
        return tmp_path / name

    model, files = saved("model", cifar, NUM), saved("files", folder, NUM)
    other = saved("noise", save(tmp_path / "noisy", noise(NUM, seed=1)), NUM)
    assert compare(model, files)[0].one == pytest.approx(compare(model, files)[0].other, rel=1e-3)
    assert [row.better for row in compare(files, other)] == ["B", "neither"]
    assert "truncation" in open_conditions(model, files)
    assert open_conditions(model) == []
    with pytest.raises(SaganError, match="samples pictures: 60 and 50"):
        compare(model, saved("fewer", folder, 50))


def test_class_folders_that_the_data_does_not_have_are_not_used_as_labels(
    real, tiny_network, tmp_path
) -> None:
    for name in ("cat", "unicorn"):
        save(tmp_path / "g" / name, noise(4, seed=len(name)))
    found = evaluate(tmp_path / "g", real, metrics=["kid"], network=tiny_network)
    assert any("has the class 'unicorn'" in note for note in found["notes"])
    assert found["protocol"]["samples"]["labels"] == "not stated"
    with pytest.raises(SaganError, match=r"images' classes: .* has cat, unicorn"):
        evaluate(tmp_path / "g", real, metrics=["intra-fid"], network=tiny_network)


def test_class_folders_are_matched_by_name_even_if_some_are_missing(
    real, folder, tiny_network, tmp_path
) -> None:
    for name in ("cat", "ship"):
        (tmp_path / "g").mkdir(exist_ok=True)
        (tmp_path / "g" / name).symlink_to(folder / name)
    found = evaluate(
        tmp_path / "g", real, metrics=["intra-fid", "class-accuracy"], network=tiny_network
    )
    assert found["metrics"]["intra-FD-Tiny/classes"] == 2
    assert found["protocol"]["samples"]["labels"] == "as often as in the files"


@pytest.mark.parametrize("metric", ["intra-fid", "gan-train", "class-accuracy"])
def test_metrics_of_classes_are_refused_for_images_without_labels(
    real, tiny_network, metric
) -> None:
    with pytest.raises(SaganError, match=f"{metric} needs images with labels"):
        evaluate(noise(20), real, metrics=[metric], network=tiny_network)


def test_fewer_images_than_asked_for_are_refused_and_more_are_noted(
    folder, real, tiny_network
) -> None:
    with pytest.raises(SaganError, match="has 60 images, not 61"):
        evaluate(folder, real, network=tiny_network, plan=SamplePlan(61))
    document = evaluate(
        folder, real, metrics=["class-accuracy"], network=tiny_network, plan=SamplePlan(20)
    )
    assert any(note.startswith("20 of the 60 images") for note in document["notes"])
    # Two of each class, not the first classes only.
    assert document["protocol"]["samples"]["labels"] == "as often as in the reference"


def test_how_a_model_draws_cannot_be_chosen_for_images(folder, real, tiny_network) -> None:
    for plan in (SamplePlan(truncation=0.5), SamplePlan(weights="raw")):
        with pytest.raises(SaganError, match="are a model's"):
            evaluate(folder, real, network=tiny_network, plan=plan)


def test_samples_are_tested_as_training_images(real, tiny_network) -> None:
    """Real images teach the classifier more about other real images than noise does."""
    black_or_white = np.repeat([0, 255], 20).astype(np.uint8)
    images = np.broadcast_to(black_or_white[:, None, None, None], (40, 8, 8, 3))
    labels, wrong = np.repeat([0, 1], 20), np.repeat([1, 0], 20)
    scores = [
        evaluate((images, given), (images, labels), metrics=["gan-train"], network=tiny_network)[
            "metrics"
        ]["gan-train"]
        for given in (labels, wrong)
    ]
    assert scores == [1, 0]


def test_gan_train_has_a_yardstick_if_there_are_unseen_images(real, tiny_network) -> None:
    labels = np.arange(20) % 10
    train = pack_in_memory(noise(40, seed=5), np.arange(40) % 10, real)
    found = evaluate(
        (noise(20, seed=6), labels), real, train=train, metrics=["gan-train"], network=tiny_network
    )["metrics"]
    assert 0 <= found["gan-train/real"] <= 1


def test_gan_train_has_no_yardstick_where_as_many_training_images_are_of_one_class(
    real, tiny_network
) -> None:
    train = pack_in_memory(noise(40, seed=5), np.repeat([0, 1], [39, 1]), real)
    found = evaluate(
        (noise(4, seed=6), np.arange(4)), real, train=train, metrics=["gan-train"],
        network=tiny_network,
    )["metrics"]  # fmt: skip
    assert "gan-train" in found
    assert "gan-train/real" not in found


def test_intra_fid_of_a_single_image_of_each_class_is_refused(tiny_network) -> None:
    metrics = ImageMetrics(["intra-fid"], tiny_network)
    for real in (True, False):
        metrics.update(noise(3), real=real, labels=np.arange(3))
    with pytest.raises(SaganError, match="a class with two samples and two real images"):
        metrics.compute()


def test_a_metric_of_other_features_is_refused(tiny_network) -> None:
    with pytest.raises(SaganError, match="parts needs --features "):
        ImageMetrics(["parts"], tiny_network)


def pack_in_memory(images: np.ndarray, labels: np.ndarray, like: PackedDataset) -> PackedDataset:
    from sagan.metrics.arrays import dataset_in_memory, with_classes

    return with_classes(dataset_in_memory(images, labels), like.classes)


def test_unlabeled_files_that_names_sort_by_content_are_shuffled(
    real, tiny_network, tmp_path
) -> None:
    """Otherwise the first ones, which stand for all in precision and recall, are one class's."""
    save(tmp_path / "g", np.zeros((50, 32, 32, 3), np.uint8), "black_{:03d}.png")
    save(tmp_path / "g", np.full((50, 32, 32, 3), 255, np.uint8), "white_{:03d}.png")
    seen: list[np.ndarray] = []
    evaluate(
        tmp_path / "g", real, metrics=["kid"], network=tiny_network, plan=SamplePlan(20),
        observe=lambda inputs: seen.append(np.array(inputs.samples.features)),
    )  # fmt: skip
    assert 2 < (seen[0].mean(axis=1) == 0).sum() < 18


@pytest.mark.parametrize(
    ("names", "numbered"),
    [
        (["00000.png", "00001.png"], True),
        (["seed 7.png", "seed 12.png"], True),
        (["a/0.png"], True),
        (["cat_0.png", "dog_0.png"], False),
        (["a.png", "b.png"], False),
        (["0.png", "b.png"], False),
    ],
)
def test_names_that_differ_in_a_number_only_are_in_order(names, numbered) -> None:
    assert are_numbered(names) is numbered


def test_sizes_must_be_one_size(real, tiny_network, tmp_path) -> None:
    save(tmp_path / "g", noise(3))
    save(tmp_path / "g", noise(1, side=48), "big.png")
    with pytest.raises(SaganError, match=r"'big.png' in .* 48 x 48 pixels, and '000.png' 32 x 32"):
        evaluate(tmp_path / "g", real, network=tiny_network)


@pytest.mark.parametrize(
    ("pixels", "colors"),
    [
        (np.s_[:, :16], "rgb"),
        (np.s_[:, :, :24], "rgb"),
        (np.s_[:, :, :, 0], "gray"),
        (np.s_[..., [0, 1, 2, 0]], "rgba"),
    ],
    ids=["wide", "tall", "gray", "rgba"],
)
def test_samples_of_other_shapes_are_compared_with_real_images_of_theirs(
    pixels, colors, tiny_network, tmp_path
) -> None:
    samples = save(tmp_path / "samples", noise(6)[pixels])
    photos = save(tmp_path / "photos", noise(6, side=40))
    document = evaluate(samples, photos, metrics=["kid"], network=tiny_network)
    again = evaluate(samples, samples, metrics=["kid"], network=tiny_network)
    assert again["metrics"] != document["metrics"]
    height, width = noise(1)[pixels].shape[1:3]
    size = document["protocol"]["reference"]["size"]
    assert size == (width if width == height else f"{width}x{height}")
    described = {"gray": "gray, three times", "rgb": None, "rgba": "rgba, over white"}
    assert document["protocol"]["reference"].get("colors") == described[colors]


def test_real_images_are_read_at_the_size_of_the_samples(tiny_network, tmp_path) -> None:
    photos = save(tmp_path / "photos", noise(6, side=40))
    document = evaluate(noise(6), photos, metrics=["kid"], network=tiny_network)
    assert document["protocol"]["reference"]["size"] == 32
    with pytest.raises(SaganError, match="40 x 40"):
        evaluate(noise(6), noise(6, side=40), metrics=["kid"], network=tiny_network)


def test_damaged_files_are_left_out_and_noted_and_only_damaged_ones_refused(
    real, tiny_network, tmp_path
) -> None:
    folder = save(tmp_path / "g", noise(20))
    (folder / "000.png").write_bytes((folder / "000.png").read_bytes()[:100])
    document = evaluate(folder, real, metrics=["kid"], network=tiny_network)
    assert document["protocol"]["samples"]["pictures"] == 19
    assert any("1 unreadable file is left out" in note for note in document["notes"])
    for file in folder.iterdir():
        file.write_bytes(b"nothing")
    with pytest.raises(SaganError, match=r"no picture in .* can be read, such as '000.png'"):
        evaluate(folder, real, metrics=["kid"], network=tiny_network)


def test_a_loop_of_links_ends(real, tiny_network, tmp_path) -> None:
    folder = save(tmp_path / "g", noise(4))
    (folder / "again").symlink_to(folder)
    document = evaluate(folder, real, metrics=["kid"], network=tiny_network)
    assert document["protocol"]["samples"]["pictures"] == 4


def test_a_packed_set_in_the_current_folder_keeps_its_class_names(
    real, folder, tiny_network, tmp_path, monkeypatch
) -> None:
    (tmp_path / "g").mkdir()
    for name in ("cat", "ship"):
        (tmp_path / "g" / name).symlink_to(folder / name)
    pack(open_source(str(tmp_path / "g")), tmp_path / "packed", 32)
    found = []
    for where, current in (("packed", tmp_path), (".", tmp_path / "packed")):
        monkeypatch.chdir(current)
        found.append(evaluate(where, real, metrics=["intra-fid"], network=tiny_network)["metrics"])
    assert found[0] == found[1]


def test_a_run_that_lost_its_configuration_is_not_taken_for_images(
    real, tiny_network, tmp_path
) -> None:
    save(tmp_path / "run" / "samples", noise(3))
    (tmp_path / "run" / "checkpoints").mkdir()
    with pytest.raises(SaganError, match="run"):
        evaluate(tmp_path / "run", real, metrics=["kid"], network=tiny_network)


def test_nothing_one_image_and_nowhere_are_refused_in_one_line(
    real, tiny_network, tmp_path
) -> None:
    (tmp_path / "empty").mkdir()
    one = save(tmp_path / "one", noise(1))
    for where, words in (
        (tmp_path / "empty", "no pictures"),
        (one, "kid needs at least 2 samples, not 1"),
        (tmp_path / "nowhere", "cannot find .* or a folder or .zip of images"),
    ):
        with pytest.raises(SaganError, match=words):
            evaluate(where, real, metrics=["kid"], network=tiny_network)


@pytest.mark.parametrize(
    ("images", "value_range", "words"),
    [
        (noise(4)[0], None, "shape"),
        (noise(4)[..., :2], None, "3 channels"),
        (noise(4).astype(np.int32), None, "uint8 or floating-point"),
        (noise(4) / 255, None, "need value_range"),
        (noise(4) / 255.0 * 2, (0, 1), "from 0 to 2"),
        (np.full((4, 8, 8, 3), np.nan), (0, 1), "not finite"),
        (noise(4) / 255, (1, 0), "smaller one first"),
    ],
)
def test_arrays_that_are_not_images_are_refused_in_one_line(
    images, value_range, words, tiny_network
) -> None:
    with pytest.raises(SaganError, match=words):
        evaluate(images, noise(8), network=tiny_network, value_range=value_range)


@pytest.mark.parametrize("labels", [[0, 1], [-1, 0, 1, 0], [0.5, 0, 1, 1]])
def test_labels_that_do_not_fit_their_images_are_refused(labels, tiny_network) -> None:
    with pytest.raises(SaganError, match="one whole number"):
        evaluate((noise(4), labels), noise(8), network=tiny_network)


def test_labels_beyond_the_real_classes_are_refused(real, tiny_network) -> None:
    with pytest.raises(SaganError, match=r"the label 10 .* has no class"):
        evaluate((noise(11), np.arange(11)), real, metrics=["kid"], network=tiny_network)


def test_gray_images_are_measured_as_gray_in_three_channels(tiny_network) -> None:
    gray = noise(8)[..., :1]
    found = [
        evaluate(images, noise(8, seed=1), metrics=["kid"], network=tiny_network)["metrics"]
        for images in (gray, np.repeat(gray, 3, axis=3))
    ]
    assert found[0] == found[1]


# --- For training loops of one's own


def test_batches_have_the_numbers_of_all_images_at_once(tiny_network) -> None:
    fake, photos, names = noise(24, seed=1), noise(24, seed=2), ["fid", "kid", "is", "intra-fid"]
    labels = np.arange(24) % 3
    expected = evaluate((fake, labels), (photos, labels), metrics=names, network=tiny_network)
    running = ImageMetrics(names, tiny_network, value_range=(0, 1))
    for start in range(0, 24, 8):
        part = slice(start, start + 8)
        running.update(torch.from_numpy(photos[part]) / 255, real=True, labels=labels[part])
        running.update(fake[part], real=False, labels=torch.from_numpy(labels[part]))
    assert running.compute() == pytest.approx(expected["metrics"], rel=1e-4, abs=1e-7)
    assert running.compute() == running.compute()


def test_resetting_forgets_generated_images_and_keeps_real_ones_unless_asked(tiny_network) -> None:
    for reset_real in (False, True):
        running = ImageMetrics(["kid"], tiny_network, reset_real=reset_real).to("cpu")
        running.update(noise(6, seed=1), real=True)
        running.update(noise(6, seed=2), real=False)
        first = running.compute()
        running.reset()
        with pytest.raises(SaganError, match="kid needs at least 2 samples, not 0"):
            running.compute()
        running.update(noise(6, seed=2), real=False)
        if reset_real:
            with pytest.raises(SaganError, match="real images, not 0"):
                running.compute()
        else:
            assert running.compute() == first


def test_metrics_that_need_training_images_are_refused_for_batches(tiny_network) -> None:
    for name, words in (("near-copies", "training images"), ("fib", "unknown metric")):
        with pytest.raises(SaganError, match=words):
            ImageMetrics([name], tiny_network)
    with pytest.raises(SaganError, match="labels of every batch"):
        ImageMetrics(["intra-fid"], tiny_network).update(noise(2), real=True)


def test_the_protocol_of_batches_names_features_and_metrics(tiny_network) -> None:
    protocol = ImageMetrics(["kid", "recall"], tiny_network, seed=3).protocol()
    assert protocol["features"]["network"] == "tiny"
    assert protocol["seed"] == 3
    assert protocol["metrics"].keys() == {"KD-Tiny", "recall"}
