"""Small files are read with suspicion, and written whole or not at all."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sagan.errors import SaganError
from sagan.storage.files import (
    MAX_BYTES,
    check_writable,
    read_json,
    read_small,
    read_text,
    write_bytes,
    write_json,
)


@pytest.mark.parametrize("name", ["os.write", "pathlib.Path.replace", "os.fsync"])
def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "config.json"
    write_bytes(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(name, full)
        with pytest.raises(SaganError, match="No space left"):
            write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_does_not_flush_folders_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_bytes(tmp_path / "config.json", b"new")
    assert (tmp_path / "config.json").read_bytes() == b"new"


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_bytes(b"old")
    link = tmp_path / "link.json"
    link.symlink_to("real.json")
    check_writable(link)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_bytes() == b"new"


@pytest.mark.parametrize("use", [check_writable, lambda path: write_bytes(path, b"x")])
def test_pipes_and_devices_are_not_replaced_by_a_file(
    tmp_path: Path, use: Callable[[Path], None]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/null")):
        with pytest.raises(SaganError, match="pipe or a device"):
            use(path)
    assert pipe.is_fifo()


@pytest.mark.parametrize("length", [1, 255])
def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path, length: int) -> None:
    write_bytes(tmp_path / ("a" * length), b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a" * length]


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "values.json"
    write_json(path, {"name": "Zoë", "values": [1, 2.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Zoë", "values": [1, 2.5, None]}
    assert read_json(path) == {"name": "Zoë", "values": [1, 2.5, None]}


def test_a_file_on_the_way_is_said_and_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SaganError, match="cannot write"):
        write_bytes(tmp_path / "file" / "x", b"")
    assert (tmp_path / "file").read_text() == "mine"


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("Zoë".encode("latin-1"))
    (tmp_path / "nested").write_text("[" * 100_000)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for name, read, told in (
        ("absent", read_small, "No such file"),
        (".", read_small, "not a file"),
        ("large", read_small, "too large"),
        ("latin", read_text, "not UTF-8"),
        ("latin", read_json, "not JSON"),
        ("nested", read_json, "not JSON"),
    ):
        with pytest.raises(SaganError, match=told):
            read(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SaganError, match="not a file"):
        read_small(tmp_path / "pipe")
