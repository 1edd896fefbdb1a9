"""Random sets as people arrange them: labels and splits are found, whatever is around them."""

import io
import json
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sagan.data import open_source, pack
from sagan.errors import SaganError

TRAIN = ["train", "Train", "training", "Training Set", "train_images", "TRN", "pets_train",
         "01 Train"]  # fmt: skip
TEST = {
    "train": "test", "Train": "Test", "training": "testing", "Training Set": "Evaluation Set",
    "train_images": "test_images", "TRN": "TST", "pets_train": "pets_test", "01 Train": "02 Test",
}  # fmt: skip
JUNK = ["$RECYCLE.BIN/S-1/9.png", "#recycle/9.png", "lost+found/9.jpg", "__MACOSX/a/._9.png",
        ".Trash-0/9.png", "Thumbs.db", "System Volume Information/9.png", "README.md",
        "notes/dataset.json", ".cache/dataset.json", "backup.tar", "labels.csv"]  # fmt: skip
CLASSES = ["cat", "dog", "caf\u00e9", "001.Albatross", "n01440764", "0", "1", "train", "mask"]
MASKS = ["{}_mask.png", "{}_seg.png", "{}-label.png", "mask_{}.png"]
PARTS = ["part{}/", "shard-00{}/", "batch_{}/"]


@dataclass
class Arranged:
    """A set's files by name, and the class of each image by name and split."""

    files: dict[str, bytes] = field(default_factory=dict)
    truth: dict[str, dict[str, str]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    has_masks: bool = False


def png(n: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2), n % 256).save(file, "PNG")
    return file.getvalue()


def add_split(draw: st.DrawFn, found: Arranged, split: str, folder: str, classes: list[str]) -> str:
    """Add a split with class folders, perhaps in parts and with masks; return a class folder."""
    part = draw(st.sampled_from(["", "", *PARTS]))
    mask = draw(st.sampled_from(["", "", *MASKS]))
    suffix = draw(st.sampled_from([".png", ".JPG", ".jfif", ".webp"]))
    found.has_masks |= bool(mask)
    truth = found.truth.setdefault(split, {})
    above = ""
    for n in range(4 * len(classes)):
        label = classes[n % len(classes)]
        above = f"{folder}{part.format(n // (2 * len(classes)) + 1)}{label}/"
        found.files[f"{above}{n}{suffix}"] = png(n)
        truth[f"{above}{n}{suffix}"] = label
        if mask:
            found.files[above + mask.format(n)] = png(n)
    return above


def add_labeled(found: Arranged, split: str, folder: str, num: int) -> None:
    """Add a split with its labels in a dataset.json, among folders without a meaning."""
    labels = []
    for n in range(4 * num):
        name = f"{n // 2:05}/img{n:08}.png"
        found.files[folder + name] = png(n)
        found.truth.setdefault(split, {})[folder + name] = str(n % num)
        labels.append([name, n % num])
    found.files[f"{folder}dataset.json"] = json.dumps({"labels": labels}).encode()


@st.composite
def arranged_sets(draw: st.DrawFn) -> Arranged:
    found = Arranged()
    wrapper = draw(st.sampled_from(["", "set/", "my-set-main/data/"]))
    train = draw(st.sampled_from(["", *TRAIN]))
    splits = {"train": f"{train}/", "test": f"{TEST[train]}/"} if train else {"train": ""}
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=4, unique=True))
    by_json = draw(st.booleans())
    for split, folder in splits.items():
        if by_json:
            add_labeled(found, split, wrapper + folder, len(classes))
            continue
        above = add_split(draw, found, split, wrapper + folder, classes)
        if draw(st.booleans()):
            found.links[f"{above}loop"] = "."
        if train and split == "train" and draw(st.booleans()):
            found.links[f"{wrapper}{draw(st.sampled_from(['latest', 'a', 'zz']))}"] = train
    for name in draw(st.lists(st.sampled_from(JUNK), unique=True)):
        found.files.setdefault(draw(st.sampled_from(["", wrapper])) + name, b"x")
    return found


def write(arranged: Arranged, root: Path, kind: str) -> Path:
    path = root / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in arranged.files.items():
                archive.writestr(name, data)
    elif kind == "tar":
        with tarfile.open(path, "w") as tar:
            for name, data in arranged.files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    else:
        for name, data in arranged.files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        for name, target in arranged.links.items():
            (path / name).symlink_to(target, target_is_directory=True)
    return path


def write_tar(path: Path, *members: tarfile.TarInfo | str) -> str:
    """A tar of pictures of these names, the n-th of brightness n, and of other members."""
    with tarfile.open(path, "w") as tar:
        for n, member in enumerate(members):
            data = png(n) if isinstance(member, str) else b""
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def test_a_flat_tar_has_every_picture_whatever_dots_are_in_their_names(tmp_path: Path) -> None:
    names = [f"Shot 2023-05-01 at 10.15.3{n}.png" for n in range(4)]
    source = open_source(write_tar(tmp_path / "shots.tar", *names))
    assert [image.name for image in source.images()] == names


def test_hard_links_in_a_tar_are_read_where_they_lead_and_other_links_are_counted(
    tmp_path: Path,
) -> None:
    again, nowhere, soft = (tarfile.TarInfo(f"b/{n}.png") for n in range(3))
    again.type, again.linkname = tarfile.LNKTYPE, "a/0.png"
    nowhere.type, nowhere.linkname = tarfile.LNKTYPE, "../0.png"
    soft.type, soft.linkname = tarfile.SYMTYPE, "a/0.png"
    path = write_tar(tmp_path / "set.tar", "a/0.png", "b/9.png", again, nowhere, soft)
    source = open_source(path)
    found = {image.name: image.read() for image in source.images()}
    assert found == {"a/0.png": png(0), "b/0.png": png(0), "b/9.png": png(1)}
    assert any(note.startswith("2 links in the archive are not read") for note in source.notes)


KINDS = st.sampled_from(["folder", "zip", "tar"])


@settings(max_examples=100)
@given(arranged=arranged_sets(), kind=KINDS)
def test_labels_and_splits_are_those_that_were_arranged(arranged: Arranged, kind: str) -> None:
    with TemporaryDirectory() as root:
        path = write(arranged, Path(root), kind)
        for split, truth in arranged.truth.items():
            source = open_source(str(path), split)
            assert {i.name: source.classes[i.label] for i in source.images()} == truth
            splits = set(source.splits) - {"latest", "a", "zz"}
            assert splits == (set(arranged.truth) if len(arranged.truth) > 1 else set())
            assert any("are masks of" in note for note in source.notes) == arranged.has_masks


BROKEN = {
    "not JSON": b"{",
    "no labels": b'{"names": []}',
    "vectors": b'{"labels": [["00000/img00000000.png", [0, 1]]]}',
    "words": b'{"labels": [["00000/img00000000.png", "cat"]]}',
    "two labels": b'{"labels": [["00000/img00000000.png", 0], ["00000/img00000000.png", 1]]}',
    "other names": b'{"labels": [["a.png", 0], ["b.png", 1]]}',
}


@settings(max_examples=60)
@given(
    arranged=arranged_sets(),
    kind=KINDS,
    trouble=st.sampled_from([*BROKEN, "second file", "other split", "no images"]),
)
def test_what_cannot_be_read_is_refused_in_one_line_that_names_it(
    arranged: Arranged, kind: str, trouble: str
) -> None:
    split = "train"
    label_files = sorted(
        name for name in arranged.files
        if name.endswith("dataset.json") and "notes" not in name and ".cache" not in name
    )  # fmt: skip
    if trouble == "other split":
        split = "nowhere"
    elif trouble == "no images":
        arranged.files = {"docs/readme.txt": b"x"}
        arranged.links = {}
    elif not label_files:
        return
    elif trouble == "second file":
        # In two folders that are not splits: neither is the one that counts.
        arranged.files = {
            f"{top}/{name}": data
            for top in ("copy", "old")
            for name, data in arranged.files.items()
        }
    else:
        for name in label_files:
            arranged.files[name] = BROKEN[trouble]
    with TemporaryDirectory() as root:
        path = write(arranged, Path(root), kind)
        with pytest.raises(SaganError) as error:
            pack(open_source(str(path), split), Path(root) / "out", 2)  # a tar is read only then
        assert "x." in str(error.value)
        assert "\n" not in str(error.value)
