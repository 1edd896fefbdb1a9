"""A `Run` reads each part of a run directory once, and says in one line if there is no run."""

import json
import shutil
from pathlib import Path

import pytest

from sagan.errors import SaganError
from sagan.run import directory, run, stats
from sagan.run.run import Run


def test_every_part_is_that_of_the_files_in_the_directory(finished_run: Path) -> None:
    found = Run(finished_run)
    assert found.exists
    assert found.description == directory.read_description(finished_run)
    assert found.environment == json.loads((finished_run / "environment.json").read_text())
    assert found.records == stats.read_records(finished_run)
    assert found.newest_checkpoint == finished_run / "checkpoints" / "step-00000006"


def test_each_part_is_read_once(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    readers = ["read_description", "read_environment", "read_records", "latest_checkpoint"]
    for name in readers:
        read = getattr(run, name)

        def counted(path: Path, name: str = name, read=read) -> object:
            calls.append(name)
            return read(path)

        monkeypatch.setattr(run, name, counted)
    found = Run(finished_run)
    for _ in range(2):
        assert found.description
        assert found.environment
        assert found.records
        assert found.newest_checkpoint
    assert calls == readers


def test_another_run_object_sees_new_records(finished_run: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(finished_run, tmp_path / "run")
    before = Run(copied)
    assert max(record["step"] for record in before.records) == 6
    with (copied / "stats.jsonl").open("a") as file:
        file.write('{"step": 7, "loss/d": 1.5}\n')
    assert max(record["step"] for record in before.records) == 6
    assert Run(copied).records == [*before.records, {"step": 7, "loss/d": 1.5}]


def test_records_up_to_the_checkpoint_stay_when_training_resumes(finished_run: Path) -> None:
    found = Run(finished_run)
    assert [record["step"] for record in found.records] == [0, 2, 3, 4, 6]
    assert [record["step"] for record in found.records_until(4)] == [0, 2, 3, 4]
    assert found.records_until(0) == []


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    empty = Run(tmp_path)
    assert not empty.exists
    with pytest.raises(SaganError, match=r"is not a run directory: it has no config\.json$"):
        empty.require()
    assert empty.records == []
    assert empty.environment == {}
    assert empty.newest_checkpoint is None


ENTRIES = [*sorted(directory.RUN_CONTENT - {"tb"}), "tb", "checkpoints/step-00000009", "samples/x"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_nothing_is_written_or_removed_through_a_link_in_a_run_directory(
    entry: str, finished_run: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".precious.tmp").write_text("mine")
    run_folder = shutil.copytree(finished_run, tmp_path / "run")
    link = run_folder / entry
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    with pytest.raises(SaganError, match="is a link") as caught:
        directory.locked(run_folder).__enter__()
    assert str(link) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in outside.iterdir()] == [".precious.tmp"]


@pytest.mark.parametrize("entry", ["config.json", "environment.json", "stats.jsonl", "checkpoints"])
def test_nothing_is_read_through_a_link_in_a_run_directory(
    entry: str, finished_run: Path, tmp_path: Path
) -> None:
    run_folder = shutil.copytree(finished_run, tmp_path / "run")
    (run_folder / entry).rename(tmp_path / "elsewhere")
    (run_folder / entry).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SaganError, match="is a link"):
        Run(run_folder).require()


def test_statistics_are_not_read_through_a_link_nor_from_a_device(tmp_path: Path) -> None:
    (tmp_path / "stats.jsonl").symlink_to("/dev/zero")
    with pytest.raises(SaganError, match="a symbolic link"):
        stats.read_records(tmp_path)


def test_a_run_directory_may_itself_be_a_link(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shutil.copytree(finished_run, tmp_path / "run"))
    Run(tmp_path / "link").require()
    with directory.locked(tmp_path / "link"):
        pass
