"""The records of a run are read in bounded memory, whatever the file contains."""

import json
import os
from pathlib import Path

import pytest

from sagan.errors import SaganError, UnreadableError
from sagan.run import stats
from sagan.run.stats import parse_records, read_records, thinned


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_a_file_of_terabytes_or_a_link_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(SaganError, match=r"cannot read '.*': larger than 256 MiB; move it away"):
        read_records(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to("elsewhere")
    with pytest.raises(SaganError, match=r"cannot read '.*': a symbolic link; move it away"):
        read_records(tmp_path)


def test_a_line_longer_than_any_record_is_skipped() -> None:
    long = {"step": 1} | {f"loss/{i}": 0.5 for i in range(10_000)}
    assert parse_records(lines(long, {"step": 2})) == [{"step": 2}]


def test_only_the_first_thousand_names_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = parse_records(lines(*({"step": i, f"n{i}": 1} for i in range(1500))))
    assert len(found) == 1500
    assert len({name for record in found for name in record}) == stats.MAX_NAMES
    assert found[0] == {"step": 0, "n0": 1}


def test_more_numbers_than_an_honest_run_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "MAX_NUMBERS", 1000)
    (tmp_path / "stats.jsonl").write_bytes(lines(*[{"step": 1, "a": 2}] * 100))
    assert len(read_records(tmp_path)) == 100
    (tmp_path / "stats.jsonl").write_bytes(lines(*[{"step": 1, "a": 2}] * 101))
    with pytest.raises(SaganError, match="more than 1,000 numbers"):
        read_records(tmp_path)
    with pytest.raises(UnreadableError):
        parse_records(lines(*[{"step": 1}] * 200))


def test_a_hundred_thousand_records_of_the_usual_size_are_read() -> None:
    names = [f"sigma/discriminator.{n:02}.c" for n in range(53)]
    line = lines({"step": 99_999} | dict.fromkeys(names, 0.12345678901234567))
    assert len(line) > 2500
    assert len(line) * 100_000 <= stats.MAX_STATS_BYTES
    assert (len(names) + 1 + stats._EACH_RECORD) * 100_000 <= stats.MAX_NUMBERS


@pytest.mark.parametrize("every", [1, 2, 3, 10, 1000])
def test_thinning_leaves_out_a_quarter_at_least_and_metrics_last(every: int) -> None:
    records = [
        {"step": n} | ({"metric/distance": 0.5} if n % every == 0 else {"loss/d": 1.0})
        for n in range(100)
    ]
    kept = parse_records(thinned(lines(*records)))
    assert kept == [record for record in records if record in kept]
    assert len(kept) <= 75
    assert kept[0] == records[0]
    if every > 1:
        assert sum("metric/distance" in record for record in kept) == -(-100 // every)


def test_equal_names_are_one_object_in_all_records() -> None:
    one, other = parse_records(lines({"step": 1, "loss/d": 1}, {"step": 2, "loss/d": 1}))
    assert [id(name) for name in one] == [id(name) for name in other]
