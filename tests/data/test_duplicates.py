"""Copies are found by their pixels, and nothing else is taken for a copy."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sagan.data import describe, duplicates, open_source, pack
from sagan.data.duplicates import DuplicateFinder


def find(shades: list[int], folder: Path) -> tuple[int, tuple[tuple[str, ...], ...]]:
    images = np.array(shades, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    finder = DuplicateFinder(folder / "names")
    names = (f"line\n{number} é" for number in range(len(images)))
    finder.add(names, [duplicates.image_hash(image) for image in images])
    finder.close()
    found = finder.groups(images)
    return found.num, found.named


@given(shades=st.lists(st.integers(0, 5), max_size=30), collide=st.booleans())
def test_the_copies_are_those_that_a_dictionary_finds(
    tmp_path_factory: pytest.TempPathFactory, shades: list[int], collide: bool
) -> None:
    expected: dict[int, list[str]] = {}
    for number, shade in enumerate(shades):
        expected.setdefault(shade, []).append(f"line\n{number} é")
    groups = [tuple(names) for names in expected.values() if len(names) > 1]
    with pytest.MonkeyPatch.context() as patch:
        if collide:  # even where all hashes are equal
            patch.setattr(duplicates, "image_hash", lambda _: 7)
        num_copies, found = find(shades, tmp_path_factory.mktemp("duplicates"))
    assert list(found) == groups
    assert num_copies == len(shades) - len(set(shades))


def test_a_hash_has_64_bits_and_depends_on_every_byte_and_not_on_the_memory_layout() -> None:
    images = np.zeros((4 * 4 * 3 + 1, 4, 4, 3), dtype=np.uint8)
    for n in range(4 * 4 * 3):
        images[n].reshape(-1)[n] = 1
    hashes = duplicates.image_hashes(images)
    assert hashes.dtype == np.int64
    assert len(np.unique(hashes)) == len(images)
    assert hashes.min() < -(2**61)
    assert hashes.max() > 2**61
    turned = images[5].swapaxes(0, 1)
    assert duplicates.image_hash(turned) == duplicates.image_hash(turned.copy())
    assert duplicates.image_hash(turned) != duplicates.image_hash(images[5])


@given(st.lists(st.integers(-3, 3), max_size=40))
def test_the_first_of_each_are_in_order_and_equal_no_earlier_image(hashes: list[int]) -> None:
    rows = duplicates.first_of_each(np.array(hashes, dtype=np.int64))
    assert rows.tolist() == [n for n, value in enumerate(hashes) if value not in hashes[:n]]


def test_a_limited_number_of_groups_is_named_but_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "MAX_GROUPS", 2)
    num_copies, groups = find([1, 1, 2, 2, 3, 3, 3], tmp_path)
    assert (num_copies, len(groups)) == (4, 2)


def test_names_of_copies_take_a_limited_number_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "MAX_NAMED_BYTES", 100)
    num_copies, groups = find([1, 2] * 50, tmp_path)
    assert num_copies == 98
    assert groups == ((*(f"line\n{2 * n} é" for n in range(len(groups[0]))),),)
    assert 2 <= len(groups[0]) <= 5


def test_packing_names_copies_and_keeps_them(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for name, shade in {"a/1.png": 1, "a/2.bmp": 2, "b/1.bmp": 1, "b/3.png": 3}.items():
        Image.new("RGB", (4, 4), (shade, shade, shade)).save(tmp_path / "set" / name)
    dataset = pack(open_source(str(tmp_path / "set")), tmp_path / "out", 4)
    assert len(dataset) == 4
    manifest = json.loads((tmp_path / "out" / "pack.json").read_text())
    # The same pixels in another format are the same image.
    assert manifest["duplicates"] == [["a/1.png", "b/1.bmp"]]
    assert manifest["num_copies"] == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "images.npy", "labels.npy", "pack.json",
    ]  # fmt: skip
    assert describe(str(tmp_path / "out")).copies == (("b/1.bmp", "a/1.png"),)


def test_describing_a_source_names_files_that_are_the_same(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "3.png"):
        shade = 9 if name == "3.png" else 1
        Image.new("RGB", (4, 4), (shade, shade, shade)).save(tmp_path / name)
    info = describe(str(tmp_path))
    assert (info.num_copies, info.copies) == (1, (("2.png", "1.png"),))


def test_a_set_packed_before_copies_were_recorded_still_opens(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    pack(open_source(str(tmp_path)), tmp_path / "out", 4)
    manifest = json.loads((tmp_path / "out" / "pack.json").read_text())
    del manifest["duplicates"], manifest["num_copies"]
    (tmp_path / "out" / "pack.json").write_text(json.dumps(manifest))
    assert describe(str(tmp_path / "out")).num_copies == 0
