"""The training tab's numbers are those of the run directory, whatever state it is in."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from sagan.explorer.history import POINTS, History


def content(history: History) -> dict:
    return json.loads(history.content()[0])


def write(run: Path, *lines: str) -> Path:
    (run / "samples").mkdir(parents=True, exist_ok=True)
    (run / "stats.jsonl").write_text("\n".join(lines))
    return run


def test_a_real_run_shows_its_curves_and_grids(finished_run: Path) -> None:
    found = content(History(finished_run))
    assert found["grids"] == [3, 6]
    assert found["series"]["loss/d"][0] == [2, 4, 6]
    assert found["series"]["attention/generator.attention_16/distance"][0] == [3, 6]
    lines = map(json.loads, (finished_run / "stats.jsonl").read_text().splitlines())
    recorded = {line["step"]: line["loss/d"] for line in lines if "loss/d" in line}
    assert dict(zip(*found["series"]["loss/d"], strict=True)) == recorded


def test_lines_that_are_no_records_and_values_that_are_no_numbers_are_left_out(
    tmp_path: Path,
) -> None:
    run = write(
        tmp_path,
        '{"step": 1, "a": 2, "b": null, "c": "x", "d": NaN, "e": 1e999, "f": true, "g": [1]}',
        '{"step": 2, "a": 3',
        "[1]",
        '{"a": 9}',
        '{"step": "3", "a": 9}',
        "[" * 100_000,
        f'{{"step": 4, "a": {"9" * 400}}}',
        '{"step": 5, "a": 5}',
        '{"st',
    )
    assert content(History(run))["series"] == {"a": [[1, 5], [2, 5]]}


def test_a_run_without_anything_yet_is_empty(tmp_path: Path) -> None:
    assert content(History(tmp_path / "nowhere")) == {"series": {}, "grids": []}


def test_a_step_recorded_again_after_going_back_counts_as_last_written(tmp_path: Path) -> None:
    run = write(tmp_path, *(json.dumps({"step": s, "a": v}) for s, v in ((1, 1), (2, 2), (1, 7))))
    assert content(History(run))["series"]["a"] == [[1, 2], [7, 2]]


def test_long_curves_are_thinned_evenly_with_both_ends(tmp_path: Path) -> None:
    run = write(tmp_path, *(json.dumps({"step": s, "a": -s}) for s in range(5000)))
    steps, values = content(History(run))["series"]["a"]
    assert len(steps) == POINTS
    assert (steps[0], steps[-1]) == (0, 4999)
    assert values == [-s for s in steps]
    gaps = {b - a for a, b in pairwise(steps)}
    assert gaps <= {8, 9}


def test_the_tag_changes_with_every_new_line_and_every_new_grid(tmp_path: Path) -> None:
    history = History(write(tmp_path, '{"step": 1, "a": 1}\n'))
    tags = [history.content()[1], history.content()[1]]
    with (tmp_path / "stats.jsonl").open("a") as file:
        file.write('{"step": 2, "a": 1}\n')
    tags.append(history.content()[1])
    (tmp_path / "samples" / "step-00000002.png").write_bytes(b"png")
    tags.append(history.content()[1])
    assert tags[0] == tags[1]
    assert len(set(tags)) == 3


@pytest.mark.parametrize("step", [0, 7, 10**11])
def test_a_grid_that_there_is_not_is_none(tmp_path: Path, step: int) -> None:
    assert History(tmp_path).grid(step) is None
