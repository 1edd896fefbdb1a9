"""A set in shards has the images, labels and fingerprint of the set in one piece."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagan.data import PackedDataset, describe, fingerprint_of, open_dataset, open_source, pack
from sagan.data.packed import parse_manifest
from sagan.data.shards.images import ShardedImages
from sagan.data.shards.layout import ShardLayout, shard_images
from sagan.errors import SaganError
from sagan.images.shape import ImageShape
from sagan.storage.files import sha256_of
from tests.data.shards.conftest import NUM, PER_SHARD, SIDE, Packed


def test_both_forms_have_the_same_content(packed: Packed) -> None:
    one, many = packed.one, packed.many
    assert many.fingerprint == one.fingerprint == fingerprint_of(many)
    assert many.labels is not None
    assert one.labels is not None
    assert many.labels.tolist() == one.labels.tolist()
    assert (many.shape, len(many), many.classes) == (one.shape, len(one), one.classes)
    assert isinstance(many.images, ShardedImages)
    assert many.images.shape == one.images.shape
    again = open_dataset(str(many.path), SIDE)
    assert np.array_equal(again.images[:], one.images[:])
    assert dict(describe(str(many.path), thumbnails=True).counts) == {"a": 15, "b": 15, "c": 15}


def test_the_default_form_is_as_it_was(packed: Packed) -> None:
    assert "shards" not in json.loads((packed.one.path / "pack.json").read_text())
    assert sorted(path.name for path in packed.one.path.iterdir()) == [
        "images.npy",
        "labels.npy",
        "pack.json",
    ]


def test_shards_are_plain_arrays_with_the_checksums_of_the_index(packed: Packed) -> None:
    folder = packed.many.path
    index = json.loads((folder / "pack.json").read_text())["shards"]
    names = [f"images-{number:05}.npy" for number in range(7)]
    assert index["images"] == PER_SHARD
    assert index["checksums"] == [sha256_of(folder / name) for name in names]
    assert index["files"] == {"labels.npy": sha256_of(folder / "labels.npy")}
    assert sorted(p.name for p in folder.iterdir()) == [*names, "labels.npy", "pack.json"]
    layout = ShardLayout(NUM, PER_SHARD)
    for number, name in enumerate(names):
        shard = np.load(folder / name, allow_pickle=False)
        assert np.array_equal(shard, packed.one.images[layout.rows(number)])


def test_a_shard_is_a_sample_of_all_classes(packed: Packed) -> None:
    layout, labels = ShardLayout(3000, 300), np.repeat([0, 1, 2], 1000)
    for shard in range(10):
        counts = np.bincount(labels[layout.rows(shard)], minlength=3)
        assert 60 < counts.min() <= counts.max() < 140


def test_the_places_of_images_never_change() -> None:
    # Sets that are packed by now could not be read in another order.
    assert ShardLayout(8, 3).stored.tolist() == EXPECTED
    assert ShardLayout(8, 3).places[EXPECTED].tolist() == list(range(8))


EXPECTED = [2, 5, 4, 7, 6, 3, 1, 0]

ROWS = st.lists(st.integers(-NUM, NUM - 1), max_size=30).map(lambda rows: np.array(rows, int))
SLICES = st.builds(slice, st.none() | st.integers(-60, 60), st.none() | st.integers(-60, 60))


@given(rows=ROWS | SLICES | st.integers(-NUM, NUM - 1))
def test_images_are_indexed_like_an_array(packed: Packed, rows: Any) -> None:
    expected = packed.one.images[rows]
    found = packed.many.images[rows]
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("rows", [NUM, -NUM - 1, np.array([0, NUM]), np.array([0.5])])
def test_rows_that_do_not_exist_are_refused(packed: Packed, rows: Any) -> None:
    with pytest.raises(IndexError):
        packed.many.images[rows]


def test_few_shards_are_open_at_a_time(packed: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = PackedDataset.open(packed.many.path)
    assert isinstance(dataset.images, ShardedImages)
    monkeypatch.setattr(dataset.images.store, "max_open", 2)
    assert np.array_equal(dataset.images[:], packed.one.images[:])
    assert len(dataset.images._open) == 2


def test_shards_have_about_the_size_that_was_asked_for() -> None:
    assert shard_images(ImageShape(32, 32)) == 20833
    assert shard_images(ImageShape(256, 256), 1) == 1


@pytest.mark.parametrize("size", [0, 10**30])
def test_shards_of_no_size_or_an_endless_one_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(SaganError, match="--shard-mb"):
        pack(open_source("openmoji"), tmp_path / "out", 4, shard_bytes=size)


# -- Damage ---------------------------------------------------------------------------------------


def edit(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        manifest = json.loads((path / "pack.json").read_text())
        manifest["shards"] |= changes
        (path / "pack.json").write_text(json.dumps(manifest))

    return change


def link_shard(path: Path) -> None:
    (path / "images-00001.npy").rename(path.parent / "elsewhere.npy")
    (path / "images-00001.npy").symlink_to(path.parent / "elsewhere.npy")


def cut_shard(path: Path) -> None:
    data = (path / "images-00001.npy").read_bytes()
    (path / "images-00001.npy").write_bytes(data[: len(data) // 2])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a missing shard": lambda path: (path / "images-00003.npy").unlink(),
    "a shard that is a link": link_shard,
    "a truncated shard": cut_shard,
    "a checksum too few": edit(checksums=["0" * 64] * 6),
    "a checksum that is a path": edit(checksums=["../../etc/passwd"] * 7),
    "shards of no images": edit(images=0),
    "shards of other sizes": edit(images=8),
    "a file with a name of its own": edit(files={"labels.npy": "0" * 64, "../x": "0" * 64}),
    "labels without a checksum": edit(files={}),
    "an unknown entry": edit(url="http://elsewhere"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_set_in_shards_is_refused_in_one_line_that_names_it(
    packed: Packed, tmp_path: Path, damage: str
) -> None:
    path = shutil.copytree(packed.many.path, tmp_path / "set")
    DAMAGE[damage](path)
    with pytest.raises(SaganError) as error:
        PackedDataset.open(path)
    assert f"'{path}' is damaged" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("array", [np.zeros((7, 4, 4, 3), np.int8), np.array([{}] * 84)])
def test_a_shard_with_other_content_is_refused_when_it_is_read(
    packed: Packed, tmp_path: Path, array: np.ndarray
) -> None:
    path = shutil.copytree(packed.many.path, tmp_path / "set")
    np.save(path / "images-00001.npy", array, allow_pickle=True)
    with pytest.raises(SaganError, match=r"images-00001\.npy"):
        PackedDataset.open(path).images[:]


def test_an_index_that_promises_terabytes_is_refused(packed: Packed) -> None:
    manifest = json.loads((packed.many.path / "pack.json").read_text())
    manifest |= {"num_images": 10**12, "classes": [], "counts": []}
    manifest["shards"] |= {"images": 10**12, "checksums": ["0" * 64], "files": {}}
    with pytest.raises(SaganError, match="GiB of memory for the order of its images"):
        parse_manifest("https://host/set", json.dumps(manifest))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("a" * 64),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(key=st.sampled_from(["images", "checksums", "files"]), value=JSON)
def test_whatever_an_index_says_it_is_read_or_refused(
    packed: Packed, key: str, value: object
) -> None:
    manifest = json.loads((packed.many.path / "pack.json").read_text())
    manifest["shards"][key] = value
    try:
        found = parse_manifest("s3://bucket/set", json.dumps(manifest))
    except SaganError:
        return
    assert found.shards is not None
    assert len(found.shards.checksums) * found.shards.images >= NUM
