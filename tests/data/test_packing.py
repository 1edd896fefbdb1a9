"""Packing is all or nothing, skips unreadable files, and records what it did."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.data import PackedDataset, describe, fingerprint_of, open_dataset, open_source, pack
from sagan.data.packed import read_manifest
from sagan.data.sources.folder import FolderSource
from sagan.errors import SaganError
from sagan.summary import dataset_lines


def shades(root: Path, num: int, folder: str = "") -> Path:
    """`num` images of 6 x 4; the n-th has the gray n."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    for n in range(num):
        Image.new("RGB", (6, 4), (n, n, n)).save(root / folder / f"{n:04}.png")
    return root


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_packed_set_contains_every_image_with_its_label(tmp_path: Path) -> None:
    root = shades(shades(tmp_path / "set", 5, "b"), 3, "a")
    dataset = pack(open_source(str(root)), tmp_path / "out", 4)
    assert dataset.images.shape == (8, 4, 4, 3)
    assert dataset.images[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert (dataset.classes, dataset.num_classes) == (("a", "b"), 2)
    assert (dataset.size, len(dataset), dataset.split) == (4, 8, "train")
    assert listing(tmp_path) == ["out", "set"]
    assert listing(tmp_path / "out") == ["images.npy", "labels.npy", "pack.json"]


@pytest.mark.parametrize(("colors", "channels"), [("gray", 1), ("rgba", 4)])
def test_a_packed_set_has_the_colors_that_were_asked_for(
    colors: str, channels: int, tmp_path: Path
) -> None:
    source = str(shades(tmp_path / "set", 3))
    packed = pack(open_source(source), tmp_path / "out", 4, colors=colors)
    assert packed.images.shape == (3, 4, 4, channels)
    assert packed.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert packed.shape.colors == read_manifest(tmp_path / "out").colors == colors
    assert packed.fingerprint == fingerprint_of(packed)
    again = open_dataset(str(tmp_path / "out"), 4, colors=colors)
    assert again.fingerprint == packed.fingerprint
    with pytest.raises(SaganError, match=f"has {colors} images, not rgb: choose colors={colors}"):
        open_dataset(str(tmp_path / "out"), 4)
    info = describe(str(tmp_path / "out"), thumbnails=True)
    assert info.thumbnails[""][0].shape == (4, 4, 3)
    in_cache = open_dataset(source, 4, colors=colors, cache=tmp_path / "cache")
    assert in_cache.shape == packed.shape
    assert open_dataset(source, 4, cache=tmp_path / "cache").shape.colors == "rgb"


@pytest.mark.usefixtures("few_emoji")
def test_transparent_drawings_stay_transparent(tmp_path: Path) -> None:
    packed = pack(open_source("openmoji"), tmp_path / "out", 32, colors="rgba")
    opacity = packed.images[..., 3]
    assert (opacity[:, 0, 0] == 0).mean() > 0.9  # the corner
    assert opacity[:, 16, 16].mean() > 128


def test_without_labels_there_is_no_labels_file(tmp_path: Path) -> None:
    dataset = pack(open_source(str(shades(tmp_path / "set", 3))), tmp_path / "out", 4)
    assert dataset.labels is None
    assert dataset.classes == ()
    assert listing(tmp_path / "out") == ["images.npy", "pack.json"]


def test_plain_numpy_reads_the_images_file(tmp_path: Path) -> None:
    pack(open_source(str(shades(tmp_path / "set", 11))), tmp_path / "out", 4)
    images = np.load(tmp_path / "out" / "images.npy", allow_pickle=False)
    assert images.dtype == np.uint8
    assert images[:, 2, 1, 1].tolist() == list(range(11))


def test_unreadable_files_are_skipped_with_their_reason_and_shift_nothing(tmp_path: Path) -> None:
    root = shades(shades(tmp_path / "set", 15, "a"), 15, "b")
    (root / "a" / "0003.png").write_bytes(b"")
    (root / "b" / "0000.png").write_text("a text")
    calls: list[tuple[int, int]] = []
    dataset = pack(
        open_source(str(root)), tmp_path / "out", 4, progress=lambda *call: calls.append(call)
    )
    assert dataset.labels is not None
    pairs = list(zip(dataset.labels.tolist(), dataset.images[:, 0, 0, 0].tolist(), strict=True))
    assert pairs == [(0, n) for n in range(15) if n != 3] + [(1, n) for n in range(1, 15)]
    manifest = json.loads((tmp_path / "out" / "pack.json").read_text())
    assert manifest["skipped"] == [
        {"name": "a/0003.png", "reason": "empty file"},
        {"name": "b/0000.png", "reason": "not a picture in a known format"},
    ]
    assert manifest["counts"] == [14, 14]
    assert calls[-1] == (30, 30)


def test_of_many_unreadable_files_the_first_are_named_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shades(tmp_path / "set", 4)
    for n in range(50):
        (root / f"x{n:02}.png").write_bytes(b"")
    monkeypatch.setattr("sagan.data.skipped.MAX_NAMED_BYTES", 1000)
    out = tmp_path / "out"
    pack(open_source(str(root)), out, 4, max_unreadable=1)
    manifest = read_manifest(out)
    named = [file.name for file in manifest.skipped]
    assert named == [f"x{n:02}.png" for n in range(len(named))]
    assert 8 < len(named) < 16
    assert manifest.num_skipped == 50
    lines = list(manifest.findings())
    assert f"50 unreadable files are left out: pack.json names the first {len(named)}" in lines
    info = describe(str(out))
    assert info.num_unreadable == 50
    lines = list(dataset_lines(info))
    assert f"unreadable   and {50 - len(named)} more" in lines


def test_a_set_whose_description_would_be_too_large_to_read_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagan.data.packing.MAX_MANIFEST_BYTES", 2000)
    source = open_source(str(shades(tmp_path / "set", 40)))
    pack(source, tmp_path / "few", 4, shard_bytes=10**6)
    with pytest.raises(SaganError, match="more than is read: give a larger --shard-mb"):
        pack(source, tmp_path / "many", 4, shard_bytes=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "set"]


def test_classes_without_a_readable_image_are_counted_as_0_at_the_start_and_at_the_end(
    tmp_path: Path,
) -> None:
    root = shades(shades(tmp_path / "set", 30, "b"), 4, "c")
    for name in ("a", "d"):
        shades(root, 0, name)
        (root / name / "broken.png").write_bytes(b"")
    dataset = pack(open_source(str(root)), tmp_path / "out", 4)
    assert dataset.classes == ("a", "b", "c", "d")
    manifest = json.loads((tmp_path / "out" / "pack.json").read_text())
    assert manifest["counts"] == [0, 30, 4, 0]
    assert dict(describe(str(tmp_path / "out")).counts) == {"a": 0, "b": 30, "c": 4, "d": 0}


def test_more_than_a_tenth_unreadable_stops_and_leaves_nothing(tmp_path: Path) -> None:
    root = shades(tmp_path / "set", 8)
    for name in ("x.png", "y.png"):
        (root / name).write_text("a text")
    with pytest.raises(SaganError, match=r"2 of 10 .*'x\.png'"):
        pack(open_source(str(root)), tmp_path / "out", 4)
    assert listing(tmp_path) == ["set"]


def test_an_interruption_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    root = shades(tmp_path / "set", 9)
    with pytest.raises(KeyboardInterrupt):
        pack(open_source(str(root)), tmp_path / "out", 4, progress=interrupt)
    assert listing(tmp_path) == ["set"]
    before = pack(open_source(str(root)), tmp_path / "out", 4).fingerprint
    with pytest.raises(KeyboardInterrupt):
        pack(open_source(str(root)), tmp_path / "out", 2, progress=interrupt)
    assert PackedDataset.open(tmp_path / "out").fingerprint == before
    assert listing(tmp_path) == ["out", "set"]


def test_a_packed_set_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    root = shades(tmp_path / "set", 3)
    pack(open_source(str(root)), tmp_path / "out", 4)
    assert pack(open_source(str(root)), tmp_path / "out", 2).size == 2
    (tmp_path / "out" / "run").mkdir()
    with pytest.raises(SaganError, match="run' is not of the packed data set"):
        pack(open_source(str(root)), tmp_path / "out", 4)
    assert listing(tmp_path / "out") == ["images.npy", "pack.json", "run"]
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for name in ("precious", "file"):
        with pytest.raises(SaganError, match="not a packed data set"):
            pack(open_source(str(root)), tmp_path / name, 4)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_the_fingerprint_depends_on_the_content_not_on_the_container(tmp_path: Path) -> None:
    root = shades(shades(tmp_path / "set", 4, "a"), 4, "b")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in root.rglob("*.png"):
            archive.write(file, file.relative_to(root))
    one = pack(open_source(str(root)), tmp_path / "one", 4)
    two = pack(open_source(str(tmp_path / "set.zip")), tmp_path / "two", 4)
    assert one.fingerprint == two.fingerprint == fingerprint_of(one)
    assert pack(open_source(str(root)), tmp_path / "small", 3).fingerprint != one.fingerprint
    (root / "b").rename(root / "c")
    assert pack(open_source(str(root)), tmp_path / "renamed", 4).fingerprint != one.fingerprint
    digest = hashlib.sha256(one.images.tobytes())
    digest.update(b'[[8, 4, 4, 3], ["a", "b"]]')
    digest.update(np.array([0, 0, 0, 0, 1, 1, 1, 1], "<i8").tobytes())
    assert one.fingerprint == digest.hexdigest()


def test_the_split_that_is_packed_is_the_sources_own(tmp_path: Path) -> None:
    source = FolderSource(shades(tmp_path / "set", 2, "test"), "test")
    assert pack(source, tmp_path / "out", 4).split == "test"


def notes_of(packed: Path) -> list[str]:
    notes = json.loads((packed / "pack.json").read_text())["notes"]
    assert isinstance(notes, list)
    return notes


def test_images_of_nearly_one_color_are_counted_in_a_note(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for n in range(6):
        dark = np.tile(np.arange(8, dtype=np.uint8) * 4, (8, 1)) + n % 4
        Image.fromarray(dark).save(root / f"{n}.png")
        icon = Image.new("LA", (8, 8), (255, 0))
        icon.paste((255, 255), (2, 2, 6, 6))
        icon.save(root / f"icon{n}.png")
    pack(open_source(str(root)), tmp_path / "out", 8)
    (note,) = notes_of(tmp_path / "out")
    assert note.startswith("12 of 12 pictures are nearly of one color")


def test_a_thin_line_is_not_one_color(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    line = np.full((16, 16), 255, np.uint8)
    line[3] = 0
    Image.fromarray(line).save(root / "line.png")
    pack(open_source(str(root)), tmp_path / "out", 16)
    assert notes_of(tmp_path / "out") == []


def test_one_image_under_two_labels_is_noted(tmp_path: Path) -> None:
    root = shades(shades(tmp_path / "set", 5, "b"), 3, "a")
    pack(open_source(str(root)), tmp_path / "out", 4)
    assert notes_of(tmp_path / "out")[0].startswith(
        "3 pictures are copies of others with another label"
    )


def test_classes_without_images_are_noted(tmp_path: Path) -> None:
    root = shades(shades(shades(tmp_path / "set", 5, "train/b"), 3, "train/a"), 2, "test/b")
    pack(open_source(str(root), "test"), tmp_path / "out", 4)
    assert notes_of(tmp_path / "out")[0] == "1 of 2 classes have no pictures here: 'a'"
