"""The training tab shows the run directory's numbers, whatever state it is in."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from sagan.explorer.history import MAX_HISTORY_POINTS, History
from sagan.report.snapshots import PNG_SIGNATURE
from sagan.run.stats import parse_records


def content(history: History) -> dict:
    return json.loads(history.content())


def write(run: Path, *lines: str) -> Path:
    (run / "samples").mkdir(parents=True, exist_ok=True)
    (run / "stats.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return run


def append(run: Path, text: str) -> None:
    with (run / "stats.jsonl").open("a") as file:
        file.write(text)


def test_a_real_run_shows_its_curves_and_grids(finished_run: Path) -> None:
    found = content(History(finished_run))
    assert found["grids"] == [3, 6]
    lines = [json.loads(line) for line in (finished_run / "stats.jsonl").read_text().splitlines()]
    for name in ("loss/d", "attention/generator.attention_16/distance"):
        recorded = {line["step"]: line[name] for line in lines if name in line}
        assert len(recorded) > 1
        assert dict(zip(*found["series"][name], strict=True)) == recorded


def test_lines_that_are_not_records_and_values_that_are_not_numbers_are_left_out(
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


def test_a_run_that_has_recorded_nothing_has_an_empty_history(tmp_path: Path) -> None:
    assert content(History(tmp_path / "nowhere")) == {"series": {}, "grids": [], "attention": []}


def test_a_step_recorded_twice_has_its_later_value(tmp_path: Path) -> None:
    run = write(tmp_path, *(json.dumps({"step": s, "a": v}) for s, v in ((1, 1), (2, 2), (1, 7))))
    assert content(History(run))["series"]["a"] == [[1, 2], [7, 2]]


def test_long_curves_are_thinned_evenly_and_keep_both_ends(tmp_path: Path) -> None:
    run = write(tmp_path, *(json.dumps({"step": s, "a": -s}) for s in range(5000)))
    steps, values = content(History(run))["series"]["a"]
    assert len(steps) == MAX_HISTORY_POINTS
    assert (steps[0], steps[-1]) == (0, 4999)
    assert values == [-s for s in steps]
    gaps = {b - a for a, b in pairwise(steps)}
    assert gaps <= {8, 9}


def test_every_new_line_and_every_new_image_appears(tmp_path: Path) -> None:
    history = History(write(tmp_path, '{"step": 1, "a": 1}'))
    assert content(history) == {"series": {"a": [[1], [1]]}, "grids": [], "attention": []}
    append(tmp_path, '{"step": 2, "a": 1}\n')
    (tmp_path / "samples" / "step-00000002.png").write_bytes(PNG_SIGNATURE)
    series = {"a": [[1, 2], [1, 1]]}
    assert content(history) == {"series": series, "grids": [2], "attention": []}
    (tmp_path / "attention").mkdir()
    (tmp_path / "attention" / "step-00000002.png").write_bytes(PNG_SIGNATURE)
    assert content(history) == {"series": series, "grids": [2], "attention": [2]}


def test_an_image_appears_that_came_within_one_tick_of_the_clock(tmp_path: Path) -> None:
    history = History(write(tmp_path, '{"step": 1, "a": 1}'))
    folder = tmp_path / "samples"
    time_of_change = folder.stat().st_mtime_ns
    assert content(history)["grids"] == []
    (folder / "step-00000002.png").write_bytes(PNG_SIGNATURE)
    os.utime(folder, ns=(time_of_change, time_of_change))
    assert content(history)["grids"] == [2]


def test_nothing_is_read_twice_and_a_line_is_read_only_when_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []

    def parse(lines: bytes) -> list:
        read.append(lines)
        return parse_records(lines)

    monkeypatch.setattr("sagan.explorer.history.parse_records", parse)
    history = History(write(tmp_path, '{"step": 1, "a": 1}'))
    assert content(history)["series"]["a"][0] == [1]
    append(tmp_path, '{"step": 2, "a": 1}\n{"step": 3,')
    assert content(history)["series"]["a"][0] == [1, 2]
    append(tmp_path, ' "a": 1}\n')
    assert content(history)["series"]["a"][0] == [1, 2, 3]
    lines = [b'{"step": %d, "a": 1}\n' % step for step in (1, 2, 3)]
    assert read == lines


def test_a_file_that_shrank_was_replaced_or_is_gone_is_read_from_its_start(tmp_path: Path) -> None:
    history = History(write(tmp_path, '{"step": 1, "a": 1}', '{"step": 2, "a": 1}'))
    assert content(history)["series"] == {"a": [[1, 2], [1, 1]]}
    write(tmp_path, '{"step": 1, "b": 1}')
    assert content(history)["series"] == {"b": [[1], [1]]}
    # As resuming from a checkpoint replaces it.
    other = write(tmp_path / "other", *(f'{{"step": {step}, "c": 1}}' for step in (1, 2, 3)))
    (other / "stats.jsonl").replace(tmp_path / "stats.jsonl")
    assert content(history)["series"] == {"c": [[1, 2, 3], [1, 1, 1]]}
    (tmp_path / "stats.jsonl").unlink()
    assert content(history)["series"] == {}


def test_only_one_thread_reads_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = threading.Semaphore(1)

    def parse(lines: bytes) -> list:
        assert reading.acquire(blocking=False), "two threads read at a time"
        time.sleep(0.001)
        reading.release()
        return parse_records(lines)

    monkeypatch.setattr("sagan.explorer.history.parse_records", parse)
    history = History(write(tmp_path))
    with ThreadPoolExecutor(8) as visitors:
        for step in range(20):
            append(tmp_path, f'{{"step": {step}, "a": 1}}\n')
            asked = [visitors.submit(content, history) for _ in range(8)]
            seen = [len(answer.result()["series"]["a"][0]) for answer in asked]
            assert seen == [step + 1] * 8


@pytest.mark.parametrize("step", [0, 7, 10**11])
def test_a_step_without_a_grid_has_none(tmp_path: Path, step: int) -> None:
    assert History(tmp_path).image("samples", step) is None


def test_links_pipes_and_files_that_are_not_images_are_never_read(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNG_SIGNATURE + b" my key")
    (run / "samples" / "step-00000001.png").symlink_to(secret)
    (run / "samples" / "step-00000002.png").write_text("not an image")
    os.mkfifo(run / "samples" / "step-00000003.png")
    history = History(run)
    assert content(history)["grids"] == []
    assert [history.image("samples", step) for step in (1, 2, 3)] == [None] * 3
    # Nor does a link lead the folder itself elsewhere.
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "samples").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    secret.rename(tmp_path / "elsewhere" / "step-00000001.png")
    linked = History(tmp_path / "linked")
    assert content(linked)["grids"] == []
    assert linked.image("samples", 1) is None


@pytest.mark.parametrize("device", ["/dev/zero", "pipe"])
def test_statistics_that_never_end_are_not_read(tmp_path: Path, device: str) -> None:
    run = write(tmp_path)
    (run / "stats.jsonl").unlink()
    if device == "pipe":
        os.mkfifo(run / "stats.jsonl")
    else:
        (run / "stats.jsonl").symlink_to(device)
    assert content(History(run))["series"] == {}
