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
