"""Random sets as people arrange them: labels and splits are found, whatever is around them."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sagan.data import open_source

TRAIN = ["train", "Train", "training", "Training Set", "train_images", "TRN", "pets_train"]
TEST = {
    "train": "test", "Train": "Test", "training": "testing", "Training Set": "Evaluation Set",
    "train_images": "test_images", "TRN": "TST", "pets_train": "pets_test",
}  # fmt: skip
JUNK = ["$RECYCLE.BIN/S-1/9.png", "#recycle/9.png", "lost+found/9.jpg", "__MACOSX/a/._9.png",
        ".Trash-0/9.png", "Thumbs.db", "System Volume Information/9.png", "README.md"]  # fmt: skip
CLASSES = ["cat", "dog", "caf\u00e9", "001.Albatross", "n01440764", "0", "1", "train", "mask"]


@dataclass(frozen=True)
class Arranged:
    """A set's files by name, and the class of each image by name and split."""

    files: dict[str, bytes]
    truth: dict[str, dict[str, str]]


def png(n: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2), n % 256).save(file, "PNG")
    return file.getvalue()


@st.composite
def arranged_sets(draw: st.DrawFn) -> Arranged:
    wrapper = draw(st.sampled_from(["", "set/", "my-set-main/data/"]))
    train = draw(st.sampled_from(["", *TRAIN]))
    splits = {"train": f"{train}/", "test": f"{TEST[train]}/"} if train else {"train": ""}
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=4, unique=True))
    by_json = draw(st.booleans())
    suffix = draw(st.sampled_from([".png", ".JPG", ".jfif", ".webp"]))
    files: dict[str, bytes] = {}
    truth: dict[str, dict[str, str]] = {}
    for split, folder in splits.items():
        truth[split], labels = {}, []
        for n in range(2 * len(classes)):
            label = n % len(classes)
            inner = f"{n // 2:05}/img{n:08}" if by_json else f"{classes[label]}/{n}"
            name = f"{wrapper}{folder}{inner}{suffix}"
            files[name] = png(n)
            truth[split][name] = str(label) if by_json else classes[label]
            labels.append([f"{inner}{suffix}", label])
        if by_json:
            content = json.dumps({"labels": labels})
            files[f"{wrapper}{folder}dataset.json"] = content.encode()
    for name in draw(st.lists(st.sampled_from(JUNK), unique=True)):
        files[draw(st.sampled_from(["", wrapper])) + name] = b"x"
    return Arranged(files, truth)


@settings(max_examples=60)
@given(arranged=arranged_sets(), as_zip=st.booleans())
def test_labels_and_splits_are_those_that_were_arranged(arranged: Arranged, as_zip: bool) -> None:
    with TemporaryDirectory() as root:
        path = Path(root) / "x"
        if as_zip:
            with zipfile.ZipFile(path, "w") as archive:
                for name, data in arranged.files.items():
                    archive.writestr(name, data)
        else:
            for name, data in arranged.files.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(data)
        for split, truth in arranged.truth.items():
            source = open_source(str(path), split)
            assert {i.name: source.classes[i.label] for i in source.images()} == truth
            assert set(source.splits) == (set(arranged.truth) if len(arranged.truth) > 1 else set())
