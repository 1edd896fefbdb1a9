"""StyleGAN's dataset.json gives the labels, in a zip and in a folder."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from sagan.data import describe, open_source, pack
from sagan.errors import SaganError


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


NAMES = [f"0000{n // 2}/img{n:08}.png" for n in range(4)]


def in_zip(root: Path, content: object) -> Path:
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        for n, name in enumerate(NAMES):
            archive.writestr(name, png(n))
        archive.writestr("dataset.json", json.dumps(content))
    return root / "x.zip"


def in_folder(root: Path, content: object) -> Path:
    for n, name in enumerate(NAMES):
        (root / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "x" / name).write_bytes(png(n))
    (root / "x" / "dataset.json").write_text(json.dumps(content))
    return root / "x"


def write_tree(
    path: Path, images: dict[str, bytes], as_zip: bool, labels: dict[str, list[list[object]]]
) -> str:
    """Images and a dataset.json in each of some folders, as a folder or as a zip."""
    files = dict(images)
    for folder, pairs in labels.items():
        files[f"{folder}dataset.json"] = json.dumps({"labels": pairs}).encode()
    if as_zip:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return str(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's, when writing
def test_of_two_files_of_labels_with_one_name_in_a_zip_the_later_one_counts(tmp_path: Path) -> None:
    path = in_zip(tmp_path, {"labels": [[name, 0] for name in NAMES]})
    with zipfile.ZipFile(path, "a") as archive:
        labels = [[name, n % 2] for n, name in enumerate(NAMES)]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    assert [image.label for image in open_source(str(path)).images()] == [0, 1, 0, 1]


@pytest.mark.parametrize("write", [in_zip, in_folder])
@pytest.mark.parametrize("form", [list, dict])
def test_labels_are_the_files_and_folders_mean_nothing(tmp_path: Path, write, form) -> None:
    pairs = [[name.replace("/", "\\"), label] for name, label in zip(NAMES, [7, 3, 7, 10])]  # noqa: B905
    dataset = pack(open_source(str(write(tmp_path, {"labels": form(pairs)}))), tmp_path / "out", 4)
    assert dataset.classes == ("3", "7", "10")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, 0, 1, 2]
    assert dataset.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("write", [in_zip, in_folder])
def test_null_instead_of_labels_means_a_set_without_labels(tmp_path: Path, write) -> None:
    source = open_source(str(write(tmp_path, {"labels": None})))
    assert pack(source, tmp_path / "out", 4).labels is None


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("wrapping", ["set/", "a/b/"])
def test_a_file_inside_a_folder_around_everything_counts(
    tmp_path: Path, wrapping: str, as_zip: bool
) -> None:
    pairs = [[name, label] for name, label in zip(NAMES, [2, 0, 1, 0], strict=True)]
    source = write_tree(
        tmp_path / "x", {wrapping + name: png(n) for n, name in enumerate(NAMES)}, as_zip,
        {wrapping: pairs},
    )  # fmt: skip
    dataset = pack(open_source(source), tmp_path / "out", 4)
    assert dataset.classes == ("0", "1", "2")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [2, 0, 1, 0]


@pytest.mark.parametrize("as_zip", [False, True])
def test_each_split_may_have_its_file_and_test_is_numbered_as_train(
    tmp_path: Path, as_zip: bool
) -> None:
    images = {f"set/{split}/{name}": png(n) for split in ("training", "test")
              for n, name in enumerate(NAMES)}  # fmt: skip
    labels = {
        "set/training/": [[name, label] for name, label in zip(NAMES, [1, 5, 1, 5], strict=True)],
        "set/test/": [[name, label] for name, label in zip(NAMES, [5, 5, 5, 2], strict=True)],
    }
    source = write_tree(tmp_path / "x", images, as_zip, labels)
    train, test = (pack(open_source(source, s), tmp_path / s, 4) for s in ("train", "test"))
    assert (train.classes, test.classes) == (("1", "5"), ("1", "5", "2"))
    assert train.labels is not None
    assert test.labels is not None
    assert train.labels.tolist() == [0, 1, 0, 1]
    assert test.labels.tolist() == [1, 1, 1, 2]
    with pytest.raises(SaganError, match=r"no split 'val' .* define test, train"):
        open_source(source, "val")
    wrapped = write_tree(tmp_path / "y", {f"y/{n}": png(1) for n in NAMES}, as_zip, {"y/": []})
    with pytest.raises(SaganError, match=r"no split 'test' .* define none"):
        open_source(wrapped, "test")


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    images = {f"{folder}/{name}": png(1) for folder in ("a", "b") for name in NAMES}
    labels = {f"{folder}/": [[name, 1] for name in NAMES] for folder in ("a", "b")}
    with pytest.raises(SaganError, match=r"several files dataset\.json, in 'a', 'b'"):
        open_source(write_tree(tmp_path / "x", images, False, labels))


def test_a_name_with_two_labels_is_refused_and_a_negative_number_is_not_a_class(
    tmp_path: Path,
) -> None:
    twice = [[NAMES[0], 0], [NAMES[0], 1]]
    with pytest.raises(SaganError, match="two labels, 0 and 1"):
        open_source(str(in_zip(tmp_path, {"labels": twice})))
    pairs = [[name, n - 1] for n, name in enumerate(NAMES)]
    info = describe(str(in_zip(tmp_path, {"labels": pairs})))
    assert info.counts == {"0": 1, "1": 1, "2": 1}
    assert info.notes[0].startswith("1 picture has no label")


def test_images_without_a_label_are_left_out_with_a_note(tmp_path: Path) -> None:
    pairs = [[NAMES[0], 0], [NAMES[3], 1], ["elsewhere.png", 2]]
    info = describe(str(in_zip(tmp_path, {"labels": pairs})))
    assert info.counts == {"0": 1, "1": 1}
    assert info.notes[0].startswith("2 pictures have no label")


def test_a_single_label_for_all_images_means_a_set_without_labels(tmp_path: Path) -> None:
    info = describe(str(in_zip(tmp_path, {"labels": [[name, 5] for name in NAMES]})))
    assert (info.num_images, info.labeled) == (4, False)
    assert "one label" in info.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no usable list of labels"),
        ({"other": 1}, "no usable list of labels"),
        ({"labels": [1, 2]}, "no usable list of labels"),
        ({"labels": [[NAMES[0], [0.5, 0.5]]]}, "only whole numbers"),
        ({"labels": [[NAMES[0], True]]}, "only whole numbers"),
        ({"labels": [["elsewhere.png", 1]]}, "name none of its pictures"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_in_one_line(
    tmp_path: Path, content: object, message: str
) -> None:
    for write in (in_zip, in_folder):
        with pytest.raises(SaganError, match=message) as error:
            pack(open_source(str(write(tmp_path, content))), tmp_path / "out", 4)
        assert "\n" not in str(error.value)


def test_a_changed_label_is_another_listing(tmp_path: Path) -> None:
    from sagan.data.sources.open import open_source

    def digest(last: int) -> str:
        pairs = [[name, n % 2] for n, name in enumerate(NAMES[:3])] + [[NAMES[3], last]]
        return open_source(str(in_zip(tmp_path, {"labels": pairs}))).listing_digest()

    assert digest(0) == digest(0) != digest(1)


def test_a_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SaganError, match="no split 'test'"):
        pack(open_source(str(in_zip(tmp_path, {"labels": None})), "test"), tmp_path / "out", 4)
