"""The comparison of starts: disjoint sets, results kept, and a table of them."""

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import transfer
from sagan.data import PackedDataset
from sagan.errors import SaganError


def test_images_to_train_on_are_equally_many_of_each_class_and_the_others_are_the_reference(
    labeled: PackedDataset,
) -> None:
    used, rest = transfer.choose_rows(labeled, ["class2", "class0"], 6)
    assert labeled.labels is not None
    assert labeled.labels[used].tolist() == [2] * 3 + [0] * 3
    assert sorted(used + rest) == [i for i, y in enumerate(labeled.labels) if y in (0, 2)]
    assert transfer.choose_rows(labeled, ["class2", "class0"], 6) == (used, rest)
    with pytest.raises(SaganError, match="has no class 'class9'"):
        transfer.choose_rows(labeled, ["class9"], 6)
    with pytest.raises(SaganError, match="fewer than 24 images"):
        transfer.choose_rows(labeled, [], 24)


def test_sets_keep_pixels_and_names_of_classes(labeled: PackedDataset, tmp_path: Path) -> None:
    used, _ = transfer.choose_rows(labeled, ["class1", "class2"], 4)
    train_set, rest = transfer.split_images(
        str(labeled.path), 32, ["class1", "class2"], 4, tmp_path
    )
    assert train_set.classes == rest.classes == ("class1", "class2")
    assert len(rest) == 6 + 4 - 4
    expected = {labeled.images[row].tobytes() for row in used}
    assert {image.tobytes() for image in train_set.images} == expected


def test_results_of_other_settings_are_not_taken_over(tmp_path: Path) -> None:
    def keep(**settings: object) -> None:
        transfer.keep_settings(argparse.Namespace(out=tmp_path, **settings))

    keep(minutes=10, seeds=1, arms=["scratch"])
    keep(minutes=10, seeds=3, arms=["scratch", "from"])
    with pytest.raises(SystemExit, match="has results of other settings"):
        keep(minutes=30, seeds=1, arms=["scratch"])


def test_the_table_compares_each_seed_with_the_same_seed_from_scratch() -> None:
    def cell(arm: str, seed: int, distance: float) -> dict[str, object]:
        return {"arm": arm, "seed": seed, "steps": 100, "metrics": {"KD": 1.0, "FD-X": distance}}

    cells = [
        cell("scratch", 0, 100),
        cell("from", 0, 20),
        cell("scratch", 1, 50),
        cell("from", 1, 20),
    ]
    lines = transfer.table(json.loads(json.dumps(cells)))
    assert lines[0] == "| arm | steps | FD-X, by seed | ratio to scratch |"
    assert lines[-1] == "| from | 100 | 20.0, 20.0 | 0.30 |"
