"""Parquet, arrow and webdataset files, streamed."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sagan.data import describe, open_dataset, open_source, pack
from sagan.data.sources.tables import TableSource
from sagan.errors import SaganError

CLASSES = ["bird", "cat", "ant"]  # not in order, as in many sets on the hub


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def rows(num: int = 30) -> datasets.Dataset:
    content = [{"image": {"bytes": png(n), "path": f"{n}.png"}, "label": n % 3} for n in range(num)]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)}
    return datasets.Dataset.from_list(content, features=datasets.Features(features))


def parquet(root: Path) -> Path:
    rows().to_parquet(str(root / "x.parquet"))
    return root / "x.parquet"


def awkward_name(root: Path) -> Path:
    (root / "a [1]*").mkdir()
    return parquet(root / "a [1]*")


def parquet_folder(root: Path, inner: str = "data") -> Path:
    (root / "set" / inner).mkdir(parents=True)
    for shard in range(3):
        name = f"train-0000{shard}-of-00003.parquet"
        rows().select(range(10 * shard, 10 * shard + 10)).to_parquet(
            str(root / "set" / inner / name)
        )
    rows(3).to_parquet(str(root / "set" / inner / "test-00000-of-00001.parquet"))
    return root / "set"


def hub_copy(root: Path) -> Path:
    """A copy by the hub's own tools of a set with one configuration, called plain_text."""
    folder = parquet_folder(root, "plain_text")
    (folder / "README.md").write_text("a card")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    return folder


def saved(root: Path) -> Path:
    rows().save_to_disk(str(root / "saved"))
    return root / "saved"


def saved_splits(root: Path) -> Path:
    splits = datasets.DatasetDict({"train": rows(), "test": rows(3)})
    splits.save_to_disk(str(root / "saved"))
    return root / "saved"


def arrow(root: Path) -> Path:
    return next(saved(root).glob("*.arrow"))


def webdataset(root: Path) -> Path:
    return tar_of(
        root / "x.tar",
        {f"{n:05}.{ext}": data for n in range(30)
         for ext, data in (("png", png(n)), ("cls", str(n % 3).encode()))},
    )  # fmt: skip


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    "write",
    [parquet, awkward_name, parquet_folder, hub_copy, saved, saved_splits, arrow, webdataset],
)
def test_every_kind_gives_its_images_and_labels_in_order(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    dataset = pack(open_source(str(write(tmp_path))), tmp_path / "out", 4)
    assert dataset.images[:, 0, 0, 0].tolist() == list(range(30))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [n % 3 for n in range(30)]
    # A webdataset has numbers for its classes, and no names.
    assert dataset.classes == (("0", "1", "2") if write is webdataset else tuple(CLASSES))


@pytest.mark.parametrize("write", [parquet_folder, saved_splits])
def test_splits_are_those_of_the_files(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    source = str(write(tmp_path))
    assert len(pack(open_source(source, "test"), tmp_path / "test", 4)) == 3
    with pytest.raises(SaganError, match=r"no split 'val' .*: it has test, train"):
        pack(open_source(source, "val"), tmp_path / "val", 4)


def test_a_stream_is_packed_into_the_cache_once(tmp_path: Path) -> None:
    source = str(parquet(tmp_path))
    first = open_dataset(source, 4, cache=tmp_path / "cache")
    notes: list[str] = []
    again = open_dataset(source, 4, cache=tmp_path / "cache", notify=notes.append)
    assert again.path == first.path
    assert any("packed earlier" in line for line in notes)
    rows(31).to_parquet(source)
    assert len(open_dataset(source, 4, cache=tmp_path / "cache")) == 31


def test_a_set_in_the_cache_is_found_without_reading_its_labels_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"picture": [png(n) for n in range(4)], "category": ["b", "a", "b", "a"]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    notes: list[list[str]] = []

    def opened() -> tuple[str, ...]:
        notes.append([])
        source = str(tmp_path / "x.parquet")
        return open_dataset(source, 4, cache=tmp_path / "cache", notify=notes[-1].append).classes

    assert opened() == ("a", "b")

    def refuse(self: TableSource, column: str) -> None:
        raise AssertionError(f"the column {column} is read again")

    monkeypatch.setattr(TableSource, "_collect_labels", refuse)
    assert opened() == ("a", "b")
    for lines in notes:
        assert "labels are read from the column 'category'" in lines


def test_bytes_in_a_plain_column_and_names_as_labels_are_found(tmp_path: Path) -> None:
    table = {"picture": [png(n) for n in range(6)], "category": ["b", "a", "b", "a", None, "b"]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    dataset = pack(
        open_source(str(tmp_path / "x.parquet")), tmp_path / "out", 4, max_unreadable=0.2
    )
    assert dataset.classes == ("a", "b")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, 0, 1, 0, 1]
    manifest = json.loads((tmp_path / "out" / "pack.json").read_text())
    assert manifest["skipped"] == [
        {"name": "row 4", "reason": "its label None is not one of the classes"}
    ]
    assert "labels are read from the column 'category'" in manifest["notes"]


def plain_table(path: Path, **columns: list[object]) -> Path:
    num = len(next(iter(columns.values()))) if columns else 6
    path.parent.mkdir(exist_ok=True)
    cells = [{"bytes": png(n), "path": None} for n in range(num)]
    pq.write_table(pa.table({"image": cells, **columns}), path)
    return path


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"label": ["0", "1", "2"] * 2}, "'label' as string, but .* 'label' as int64"),
        ({}, "no column 'label', but .* 'label' as int64"),
        ({"label": [[0], [1], [2]] * 2}, "'label' as .*, but .* 'label' as int64"),
    ],
)
@pytest.mark.parametrize("first", ["a.parquet", "z.parquet"])
def test_files_with_other_columns_are_refused_in_one_line(
    tmp_path: Path, others: dict[str, list[object]], message: str, first: str
) -> None:
    plain_table(tmp_path / "set" / "m.parquet", label=[0, 1, 2] * 2)
    plain_table(tmp_path / "set" / first, **others)
    with pytest.raises(SaganError, match=r"do not fit together: .*'label'") as error:
        pack(open_source(str(tmp_path / "set")), tmp_path / "out", 4)
    assert "\n" not in str(error.value)
    if first == "z.parquet":
        assert error.match(message)


def test_files_that_name_their_classes_differently_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    rows().to_parquet(str(tmp_path / "set" / "a.parquet"))
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES[::-1])}
    )
    content = [{"image": {"bytes": png(1), "path": "1.png"}, "label": 0}]
    other = datasets.Dataset.from_list(content, features=features)
    other.to_parquet(str(tmp_path / "set" / "b.parquet"))
    with pytest.raises(SaganError, match=r"do not fit together: .*the classes ant"):
        pack(open_source(str(tmp_path / "set")), tmp_path / "out", 4)


@pytest.mark.parametrize(
    ("columns", "best"),
    [
        (["mask", "image"], "image"),
        (["depth_map", "Image"], "Image"),
        (["segmentation", "scan"], "scan"),
        (["conditioning_image", "target_img"], "target_img"),
        (["labels_rgb", "left", "right"], "left"),
    ],
)
def test_of_several_image_columns_the_one_called_image_counts_and_masks_come_last(
    tmp_path: Path, columns: list[str], best: str
) -> None:
    cells = {name: [{"bytes": png(n), "path": None}] for n, name in enumerate(columns)}
    features = datasets.Features({name: datasets.Image() for name in columns})
    path = str(tmp_path / "x.parquet")
    datasets.Dataset.from_dict(cells, features=features).to_parquet(path)
    source = open_source(path)
    assert pack(source, tmp_path / "out", 4).images[0, 0, 0, 0] == columns.index(best)
    assert source.notes[0].startswith(f"pictures are read from the column '{best}', not from ")


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()])
def test_whole_numbers_are_classes_even_if_stored_as_floats(tmp_path: Path, kind) -> None:
    column = pa.array([0, 1, 2] * 2, pa.int64()).cast(kind)
    path = plain_table(tmp_path / "x.parquet", label=column)
    dataset = pack(open_source(str(path)), tmp_path / "out", 4)
    assert dataset.classes == ("0", "1", "2")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 1, 2] * 2


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        ([0.5, 1.0, 2.0] * 2, "the column 'label' has fractions such as 0.5"),
        ([[0], [1], [2]] * 2, "the column 'label' holds "),
    ],
)
def test_labels_that_are_not_classes_are_named(tmp_path: Path, labels, note: str) -> None:
    info = describe(str(plain_table(tmp_path / "x.parquet", label=labels)))
    assert not info.labeled
    assert any(line.startswith(note) for line in info.notes)


def test_minus_one_means_no_label_but_not_beside_one(tmp_path: Path) -> None:
    path = plain_table(tmp_path / "x.parquet", label=[-1, 0, 1, 2, -1, 2])
    info = describe(str(path))
    assert info.counts == {"0": 1, "1": 1, "2": 2}
    assert any("2 rows with a negative label" in note for note in info.notes)
    info = describe(str(plain_table(tmp_path / "y.parquet", label=[-1, 1] * 3)))
    assert info.counts == {"-1": 3, "1": 3}
    info = describe(str(plain_table(tmp_path / "z.parquet", label=[-1] * 3)))
    assert (info.num_images, info.labeled) == (3, False)


def test_a_test_table_numbers_its_classes_as_train_does(tmp_path: Path) -> None:
    plain_table(tmp_path / "set" / "train.parquet", label=["a", "b", "c"])
    plain_table(tmp_path / "set" / "test.parquet", label=["c", "0", "b"])
    source = open_source(str(tmp_path / "set"), "test")
    dataset = pack(source, tmp_path / "out", 4)
    assert dataset.classes == ("a", "b", "c", "0")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [2, 3, 1]
    assert source.notes[1].endswith("classes that the train split does not have: 0")


def test_a_webdataset_may_mix_image_formats_and_have_words_for_labels(tmp_path: Path) -> None:
    files = {}
    for n in range(65):
        files[f"{n:05}.cls"] = (b"cat" if n % 2 else b"wild dog\n") if n else b"ant"
        files[f"{n:05}.{'ppm' if n < 60 else 'PNG'}"] = (
            png(n) if n >= 60 else b"P6 1 1 255 " + bytes([n] * 3)
        )
    dataset = pack(open_source(str(tar_of(tmp_path / "x.tar", files))), tmp_path / "out", 4)
    assert dataset.images[:, 0, 0, 0].tolist() == list(range(65))
    assert dataset.classes == ("ant", "cat", "wild dog")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0] + [1 if n % 2 else 2 for n in range(1, 65)]


def test_a_sample_without_an_image_is_named_and_masks_are_not_its_image(tmp_path: Path) -> None:
    files = {f"{n:02}.cls": str(n % 2).encode() for n in range(30)}
    files |= {f"{n:02}.png": png(n) for n in range(29)}
    files |= {f"{n:02}.mask.png": png(99) for n in range(29)}
    path = tar_of(tmp_path / "x.tar", dict(sorted(files.items())))
    dataset = pack(open_source(str(path)), tmp_path / "out", 4)
    assert dataset.images[:, 0, 0, 0].tolist() == list(range(29))
    manifest = json.loads((tmp_path / "out" / "pack.json").read_text())
    assert [file["name"] for file in manifest["skipped"]] == ["row 29: 29"]


def test_a_tar_of_class_folders_is_read_as_the_folder_would_be(tmp_path: Path) -> None:
    files = {f"pets/{split}/{name}/{n}.png": png(n) for split in ("train", "test")
             for name in ("cat", "dog") for n in range(2)}  # fmt: skip
    path = tar_of(tmp_path / "pets.tar", files | {"pets/._x.png": b"", "../evil.png": png(1)})
    source = open_source(str(path), "test")
    dataset = pack(source, tmp_path / "out", 4)
    assert dataset.classes == ("cat", "dog")
    assert source.splits == ("test", "train")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert dataset.images[:, 0, 0, 0].tolist() == [0, 1, 0, 1]
    assert "point out of the archive" in source.notes[0]
    digest = source.listing_digest()
    assert open_source(str(path), "test").listing_digest() == digest
    assert open_source(str(path)).listing_digest() != digest


PETS = {f"{name}/{n}.png": png(10 * n + (name == "dog")) for name in ("cat", "dog")
        for n in range(3)}  # fmt: skip
CATS = {f"{n}.png": png(n) for n in range(2)}


@pytest.mark.parametrize(
    ("tars", "splits"),
    [
        ({"part1.tar": PETS, "part2.tar": PETS}, {"train": (6, 6)}),
        ({"data/pets-000.tar": PETS, "data/pets-001.tar": PETS}, {"train": (6, 6)}),
        ({"000.tar": PETS, "001.tar": PETS, "002.tar": PETS}, {"train": (9, 9)}),
        ({"train.tar": PETS, "test.TAR": PETS}, {"train": (3, 3), "test": (3, 3)}),
        (
            {f"train-0000{n}-of-00002.tar": PETS for n in (0, 1)} | {"val.tar": PETS},
            {"train": (6, 6), "val": (3, 3)},
        ),
        ({"train/0.tar": PETS, "train/1.tar": PETS, "test/0.tar": PETS},
         {"train": (6, 6), "test": (3, 3)}),
        ({"cat.tar": CATS, "dog.tar": CATS}, {"train": (2, 2)}),
        (
            {f"n0144076{n}.tar": {f"n0144076{n}_{i}.JPEG": png(i) for i in range(n + 1)}
             for n in (0, 1)},
            {"train": (1, 2)},
        ),
    ],
)  # fmt: skip
def test_several_tars_are_one_set_with_the_classes_and_splits_of_their_folders(
    tmp_path: Path, tars: dict[str, dict[str, bytes]], splits: dict[str, tuple[int, int]]
) -> None:
    for name, files in tars.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        tar_of(tmp_path / "set" / name, files)
    for split, counts in splits.items():
        source = open_source(str(tmp_path / "set"), split)
        assert source.splits == (tuple(sorted(splits)) if len(splits) > 1 else ())
        assert len({image.name for image in source.images()}) == sum(counts)
        labels = [image.label for image in source.images()]
        assert tuple(labels.count(label) for label in (0, 1)) == counts
        assert len(source.classes) == 2
        # Every image is the one that its place says.
        shades = [image.read() for image in source.images()]
        assert set(shades) <= {data for files in tars.values() for data in files.values()}
        digest = source.listing_digest()
        assert open_source(str(tmp_path / "set"), split).listing_digest() == digest


def test_a_damaged_tar_among_several_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        tar_of(tmp_path / name, PETS)
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:2048])
    with pytest.raises(SaganError, match=r"'.*b\.tar': its end is missing"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("stray", ["backup.tar", "metadata.parquet"])
def test_a_folder_of_images_with_a_stray_table_or_archive_is_a_folder_of_images(
    tmp_path: Path, stray: str
) -> None:
    for name in ("train/cat/1.png", "train/dog/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(png(1))
    if stray == "backup.tar":
        tar_of(tmp_path / stray, PETS)
    else:
        pq.write_table(pa.table({"file_name": ["1.png"], "label": [3]}), tmp_path / stray)
    source = open_source(str(tmp_path))
    assert (source.classes, source.num_images) == (("cat", "dog"), 2)


def test_a_table_of_images_with_a_figure_beside_it_is_a_table(tmp_path: Path) -> None:
    parquet(tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "figure.png").write_bytes(png(1))
    assert open_source(str(tmp_path)).num_images == 30


@pytest.mark.parametrize("top", ["", "data/", "set/"])
def test_folders_of_tables_named_as_splits_are_splits(tmp_path: Path, top: str) -> None:
    for split, num in (("train", 6), ("validation", 3)):
        (tmp_path / top / split).mkdir(parents=True)
        rows(num).to_parquet(str(tmp_path / top / split / "x.parquet"))
    assert open_source(str(tmp_path)).num_images == 6
    for spelling in ("validation", "val", "dev", "Valid"):
        source = open_source(str(tmp_path), spelling)
        assert (source.split, source.num_images) == ("validation", 3)


def test_captions_are_not_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagan.data.sources.tables.MAX_LABEL_VALUES", 4)
    table = {"image": [png(n) for n in range(6)], "label": [f"caption {n}" for n in range(6)]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    info = describe(str(tmp_path / "x.parquet"))
    assert (info.num_images, info.labeled) == (6, False)
    assert any("read without labels" in note for note in info.notes)


def test_the_error_for_a_table_without_images_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "number": [1]}), tmp_path / "x.parquet")
    with pytest.raises(SaganError, match=r"no column of pictures .*text, number"):
        pack(open_source(str(tmp_path / "x.parquet")), tmp_path / "out", 4)


def test_rows_without_an_image_are_named_and_paths_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(png(99))
    cells = [{"bytes": png(n), "path": None} for n in range(20)]
    cells[3] = {"bytes": None, "path": str(tmp_path / "mine.png")}
    cells[5] = {"bytes": b"no picture", "path": "five.png"}
    table = datasets.Dataset.from_dict({"image": cells})
    table.cast_column("image", datasets.Image()).to_parquet(str(tmp_path / "x.parquet"))
    dataset = pack(open_source(str(tmp_path / "x.parquet")), tmp_path / "out", 4)
    assert dataset.images[:, 0, 0, 0].tolist() == [n for n in range(20) if n not in (3, 5)]
    reasons = {
        file["name"]: file["reason"]
        for file in json.loads((tmp_path / "out" / "pack.json").read_text())["skipped"]
    }
    assert reasons == {
        f"row 3: {tmp_path / 'mine.png'}": "the row has no picture",
        "row 5: five.png": "not a picture in a known format",
    }


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.tar"])
def test_a_file_with_other_content_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not at all" * 100)
    with pytest.raises(SaganError, match=rf"cannot read '.*{name}'") as error:
        pack(open_source(str(tmp_path / name)), tmp_path / "out", 4)
    assert "\n" not in str(error.value)


def test_a_file_cut_short_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = webdataset(tmp_path)
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(SaganError, match=r"cannot read '.*x\.tar': its end is missing"):
        pack(open_source(str(path)), tmp_path / "out", 4)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.tar"]


def test_a_folder_that_mixes_kinds_is_refused(tmp_path: Path) -> None:
    parquet(tmp_path)
    webdataset(tmp_path)
    with pytest.raises(SaganError, match="mixes parquet and webdataset"):
        pack(open_source(str(tmp_path)), tmp_path / "out", 4)


def test_without_the_library_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    (tmp_path / "x.parquet").write_bytes(b"")
    for source in (str(tmp_path / "x.parquet"), "hf:cifar10"):
        with pytest.raises(SaganError, match=r"pip install '\.\[hub\]'"):
            pack(open_source(source), tmp_path / "out", 4)


def test_tables_give_what_a_folder_gives(tmp_path: Path) -> None:
    for n in range(30):
        folder = tmp_path / "set" / CLASSES[n % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n:02}.png").write_bytes(png(n))
    one = pack(open_source(str(tmp_path / "set")), tmp_path / "one", 4)
    two = pack(open_source(str(parquet(tmp_path))), tmp_path / "two", 4)
    assert one.labels is not None
    assert two.labels is not None

    def named(dataset) -> set[tuple[int, str]]:
        pairs = zip(dataset.images[:, 0, 0, 0], dataset.labels, strict=True)
        return {(int(shade), dataset.classes[label]) for shade, label in pairs}

    assert named(one) == named(two)
    assert np.unique(two.images).tolist() == list(range(30))
