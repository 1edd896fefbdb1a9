"""The built-in faces."""

import hashlib
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from sagan.data import PackedDataset, open_dataset, open_source, pack, read_attributes
from sagan.data.attributes import AttributeTable
from sagan.data.sources.avatars import LICENSES, STYLES, AvatarsSource, attributes_of
from sagan.errors import SaganError


def test_styles_take_turns_and_are_the_classes() -> None:
    source = AvatarsSource("avatars")
    first = list(islice(source.images(), 12))
    assert source.num_images == 20_000
    assert source.classes == STYLES
    assert [image.label for image in first] == [*range(10), 0, 1]
    assert [first[0].name, first[11].name] == ["toon-head-0", "big-ears-1"]


def test_a_single_style_has_no_labels() -> None:
    source = AvatarsSource("avatars:micah@3")
    assert source.classes == ()
    assert {image.label for image in source.images()} == {-1}


def test_a_longer_set_begins_with_the_shorter_one() -> None:
    short, long = AvatarsSource("avatars:micah,dylan@5"), AvatarsSource("avatars:micah,dylan@9")
    assert list(short.images()) != list(long.images())
    names = [[image.name for image in source.images()] for source in (short, long)]
    assert (len(names[0]), len(names[1])) == (5, 9)
    assert names[1][:5] == names[0]


def test_the_test_split_has_a_quarter_as_many_others() -> None:
    splits = {split: AvatarsSource("avatars@42", split) for split in ("train", "test", "all")}
    names = {split: {image.name for image in source.images()} for split, source in splits.items()}
    assert {split: len(found) for split, found in names.items()} == {
        "train": 42, "test": 11, "all": 53,
    }  # fmt: skip
    assert not names["train"] & names["test"]
    assert names["all"] == names["train"] | names["test"]
    assert {split: source.num_images for split, source in splits.items()} == {
        split: len(found) for split, found in names.items()
    }


def test_an_avatar_has_the_same_pixels_on_every_machine() -> None:
    source = AvatarsSource("avatars@10")
    digest = hashlib.sha256()
    for image in source.images():
        digest.update(source.decode(image.read(), size=32, fit="crop").tobytes())
    assert digest.hexdigest() == EXPECTED


EXPECTED = "1f4a944d8172d170ce98a6c12e43cb40b8eef2670b73b0602884d252a4970cb8"


def test_packing_gives_the_same_fingerprint_on_every_machine(tmp_path: Path) -> None:
    assert pack(open_source("avatars@200"), tmp_path / "set", 32).fingerprint == FINGERPRINT


FINGERPRINT = "da54483ebd3bdba7820f115d0583ed5580d249788ef9ee4945f7ad3bd2257dc2"


def test_every_style_may_be_shared_and_is_credited() -> None:
    generator, *lines = AvatarsSource("avatars").credits.splitlines()
    assert "DiceBear" in generator
    for style, line in zip(STYLES, lines, strict=True):
        assert line.startswith(f"{style}: ")
        assert line.endswith(LICENSES)
    assert "Pablo Stanley" in lines[STYLES.index("open-peeps")]


def test_attributes_name_what_is_seen() -> None:
    """The hair's color, as drawn, is that of the attribute; other hair gives other pixels."""
    source = AvatarsSource("avatars:toon-head@30")
    for image in source.images():
        data = image.read()
        color = attributes_of(data)["hairColor"]
        red, green, blue = (int(color[n : n + 2], 16) for n in (1, 3, 5))
        pixels = source.decode(data, size=128, fit="crop")
        assert (pixels == (red, green, blue)).all(axis=-1).mean() > 0.005


def test_a_part_that_is_not_drawn_is_absent() -> None:
    found = [attributes_of(image.read()) for image in AvatarsSource("avatars:miniavs@60").images()]
    with_glasses = sum("glassesVariant" in attributes for attributes in found)
    assert 0 < with_glasses < 30
    assert all("skinColor" in attributes for attributes in found)


def test_packed_sets_keep_the_attributes_of_each_image(tmp_path: Path) -> None:
    source = open_source("avatars:micah,miniavs@40")
    dataset = pack(source, tmp_path / "set", 16)
    attributes = read_attributes(dataset)
    expected = [attributes_of(image.read()) for image in source.images()]
    assert {name for each in expected for name in each} == set(attributes)
    for name, attribute in attributes.items():
        assert attribute.codes.shape == (40,)
        for index, code in enumerate(attribute.codes):
            value = attribute.values[code] if code >= 0 else None
            assert value == expected[index].get(name)


def test_other_sets_have_no_attributes(labeled: PackedDataset) -> None:
    assert read_attributes(labeled) == {}
    assert not (labeled.path / "attributes.json").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "Invalid JSON"),
        ('{"hair": {"values": ["a"], "codes": [0]}}', "1 codes for 3 images"),
        ('{"hair": {"values": ["a"], "codes": [0, 1, 0]}}', "a code without a value"),
        ('{"hair": {"values": ["a"], "codes": [0, -2, 0]}}', "greater than or equal to -1"),
    ],
)
def test_damaged_attributes_are_refused(tmp_path: Path, content: str, problem: str) -> None:
    dataset = pack(open_source("avatars:dylan@3"), tmp_path / "set", 8)
    (dataset.path / "attributes.json").write_text(content)
    with pytest.raises(SaganError, match=problem) as refused:
        read_attributes(dataset)
    assert "\n" not in str(refused.value)


def test_the_first_image_with_an_attribute_may_come_late() -> None:
    table = AttributeTable()
    for attributes in ({}, {"hat": "red"}, {}, {"hat": "blue"}, {"hat": "red"}, {}):
        table.add(attributes)
    assert json.loads(table.to_json()) == {
        "hat": {"values": ["red", "blue"], "codes": [-1, 0, -1, 1, 0, -1]}
    }


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("avatars:tonhead", "did you mean toon-head"),
        ("avatars:micah,micah", "a style twice"),
        ("avatars:", "no style ''"),
        ("avatars:../micah", "no data set"),
        ("avatars:avataaars", "license of the style 'avataaars'"),
        ("avatars@0", "'@0' is not a number of avatars"),
        ("avatars@many", "'@many' is not a number of avatars"),
        ("avatars@", "'@' is not a number of avatars"),
        ("avatars@9999999", "1 to 500,000"),
        ("avatars@\u0661\u0662", "is not a number of avatars"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(spec: str, problem: str) -> None:
    with pytest.raises(SaganError, match=problem) as refused:
        open_source(spec)
    assert "\n" not in str(refused.value)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(SaganError, match="no split 'val' in avatars"):
        open_source("avatars", "val")


def test_the_cache_keeps_each_mixture_and_number_apart(tmp_path: Path) -> None:
    specs = ("avatars:dylan@8", "avatars:micah@8", "avatars:dylan@9", "avatars:dylan@8")
    sets: list[PackedDataset] = [open_dataset(spec, 8, cache=tmp_path) for spec in specs]
    assert len({dataset.path for dataset in sets}) == 3
    assert sets[0].path == sets[3].path
    assert np.array_equal(sets[0].images, sets[2].images[:8])
