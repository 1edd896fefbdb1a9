"""Files are read with suspicion, and written whole or not at all."""

import errno
import json
import os
import socket
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from sagan.errors import SaganError, UnreadableError
from sagan.images.decode import read_photo
from sagan.images.shape import ImageShape
from sagan.storage.files import (
    MAX_TEXT_BYTES,
    check_writable,
    open_file,
    read_file,
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


def test_a_disk_that_cannot_flush_folders_is_still_written_to(
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


def test_a_link_stays_a_link_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_bytes(b"old")
    link = tmp_path / "link.json"
    link.symlink_to("real.json")
    check_writable(link)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_bytes() == b"new"


@pytest.mark.parametrize("use", [check_writable, lambda path: write_bytes(path, b"x")])
def test_a_file_never_takes_the_place_of_a_pipe_or_a_device(
    tmp_path: Path, use: Callable[[Path], None]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(SaganError, match="pipe or a device"):
            use(path)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("length", [1, 255])
def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path, length: int) -> None:
    write_bytes(tmp_path / ("a" * length), b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a" * length]


def test_missing_parent_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "values.json"
    write_json(path, {"name": "Zoë", "values": [1, 2.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Zoë", "values": [1, 2.5, None]}
    assert read_json(path) == {"name": "Zoë", "values": [1, 2.5, None]}


def test_a_file_in_place_of_a_parent_folder_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SaganError, match="cannot write"):
        write_bytes(tmp_path / "file" / "x", b"")
    assert (tmp_path / "file").read_text() == "mine"


def test_each_reason_that_a_small_file_cannot_be_read_is_given(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("Zoë".encode("latin-1"))
    (tmp_path / "nested").write_text("[" * 100_000)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)
    for name, read, words in (
        ("absent", read_small, "No such file"),
        (".", read_small, "not a regular file"),
        ("large", read_small, "larger than 2 MiB"),
        ("latin", read_text, "not a UTF-8 text file"),
        ("latin", read_json, "not JSON"),
        ("nested", read_json, "not JSON"),
    ):
        with pytest.raises(SaganError, match=words) as error:
            read(tmp_path / name)
        assert f"'{tmp_path / name}'" in str(error.value)


# Reading files that may be anyone's.


def within_seconds(function: Callable[[], object]) -> object:
    """The result of a call, or what it raises; it fails the test if it waits."""
    outcome: list[object] = []

    def call() -> None:
        try:
            outcome.append(function())
        except Exception as error:
            outcome.append(error)

    # A daemon, so that a call that waits for ever does not keep the tests from ending.
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert outcome, "it is still waiting"
    return outcome[0]


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def unix_socket(folder: Path) -> Path:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "socket"))
    server.close()  # the name stays
    return folder / "socket"


def link_to_pipe(folder: Path) -> Path:
    (folder / "link").symlink_to(pipe(folder))
    return folder / "link"


def pipe_of_a_shell(folder: Path) -> Path:
    """As in `sagan ... <(command)`, of a command that writes nothing."""
    reading, _ = os.pipe()
    return Path(f"/dev/fd/{reading}")


ENDLESS: dict[str, Callable[[Path], Path]] = {
    "a pipe": pipe,
    "a link to a pipe": link_to_pipe,
    "a socket": unix_socket,
    "a folder": lambda folder: folder,
    "/dev/zero": lambda _: Path("/dev/zero"),
    "/dev/tty": lambda _: Path("/dev/tty"),
    "a pipe of a shell": pipe_of_a_shell,
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("kind", ENDLESS)
def test_nothing_but_a_regular_file_is_read_and_nothing_waits(tmp_path: Path, kind: str) -> None:
    path = ENDLESS[kind](tmp_path)
    for read in (open_file, read_file):
        error = within_seconds(partial(read, path))
        assert isinstance(error, UnreadableError)
        assert str(error) in ("not a regular file", "No such device or address")
    for read in (
        read_small,
        read_text,
        read_json,
        lambda path: read_photo(path, ImageShape(8, 8), "crop"),
    ):
        error = within_seconds(partial(read, path))
        assert isinstance(error, SaganError)
        assert str(error).startswith(f"cannot read '{path}': ")
        assert "\n" not in str(error)


def test_a_file_is_read_whole_up_to_the_limit_and_not_beyond(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 1, 1024**2):
        path.write_bytes(b"x" * size)
        assert read_file(path, 1024**2) == b"x" * size
        assert read_file(str(path), 1024**2) == b"x" * size
    path.write_bytes(b"x" * (1024**2 + 1))
    with pytest.raises(UnreadableError, match="larger than 1 MiB"):
        read_file(path, 1024**2)
    with pytest.raises(UnreadableError, match="larger than 1 MiB"):
        open_file(path, 1024**2)


def test_the_limit_applies_to_the_content_not_to_the_size_that_a_file_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in /proc, whose files say that they are empty."""
    status = os.fstat

    def claim_to_be_empty(descriptor: int) -> os.stat_result:
        fields = list(status(descriptor))
        fields[stat.ST_SIZE] = 0
        return os.stat_result(fields)

    (tmp_path / "file").write_bytes(b"x" * 5000)
    monkeypatch.setattr(os, "fstat", claim_to_be_empty)
    assert read_file(tmp_path / "file", 5000) == b"x" * 5000
    with pytest.raises(UnreadableError, match="larger than"):
        read_file(tmp_path / "file", 4999)


@pytest.mark.parametrize("flags", [True, False])
def test_a_link_is_followed_only_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: bool
) -> None:
    if not flags:  # as on Windows
        monkeypatch.delattr(os, "O_NOFOLLOW")
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link") == b"content"
    with pytest.raises(UnreadableError, match="link"):
        read_file(tmp_path / "link", follow_links=False)
    assert read_file(tmp_path / "file", follow_links=False) == b"content"


def test_the_reasons_of_the_system_are_passed_on_without_the_name(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    for name, words in (
        ("absent", "No such file or directory"),
        ("circle", "Too many levels of symbolic links"),
        ("nul\0", "embedded null byte"),
        ("long" * 100, "File name too long"),
    ):
        with pytest.raises(UnreadableError) as error:
            read_file(tmp_path / name)
        assert str(error.value) == words


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    def lowest_free_descriptor() -> int:
        descriptor = os.dup(1)
        os.close(descriptor)
        return descriptor

    before = lowest_free_descriptor()
    with pytest.raises(UnreadableError, match="not a regular file"):
        open_file(tmp_path)
    assert lowest_free_descriptor() == before
