"""Unfinished work is removed once its process is dead, and never while it lives."""

import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from sagan.storage import staging
from sagan.storage.staging import (
    HOST_NAME,
    discard,
    is_unfinished,
    keep_first,
    remove_abandoned,
    remove_unfinished,
    replace,
    staged,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def abandoned(place: Path, host: str) -> Path:
    """Leave what a killed process on a machine leaves; return its lock file."""
    name = f".out.{host}.{'0' * 32}"
    (place / f"{name}.tmp").mkdir()
    (place / f"{name}.tmp" / "images.npy").write_bytes(b"half")
    lock_file = place / f"{name}.lock"
    lock_file.touch()
    return lock_file


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out) as folder:
        remove_abandoned(tmp_path)
        assert folder.is_dir()
        with staged(out) as other:
            assert other != folder
        assert folder.is_dir()
    assert names(tmp_path) == []


def test_what_another_machine_writes_is_left_alone_for_a_day(tmp_path: Path) -> None:
    lock_file = abandoned(tmp_path, "elsewhere")
    remove_abandoned(tmp_path)
    assert lock_file.with_suffix(".tmp").is_dir()
    yesterday = time.time() - 90_000
    os.utime(lock_file, (yesterday, yesterday))
    remove_abandoned(tmp_path)
    assert names(tmp_path) == []


def test_only_abandoned_folders_with_their_locks_are_removed_from_a_shared_place(
    tmp_path: Path,
) -> None:
    abandoned(tmp_path, HOST_NAME)
    mine = [".thesis.tmp", ".thesis.lock", f".other.{'0' * 32}.tmp", "poetry.lock"]
    for name in mine:
        (tmp_path / name).touch()
    remove_abandoned(tmp_path)
    assert names(tmp_path) == sorted(mine)


def test_everything_unfinished_is_removed_from_a_private_place(tmp_path: Path) -> None:
    (tmp_path / ".folder.tmp").mkdir()
    (tmp_path / ".folder.tmp" / "file").touch()
    (tmp_path / ".file.tmp").touch()
    (tmp_path / ".link.tmp").symlink_to(tmp_path)
    for name in ("file.tmp", ".lock", ".hidden"):
        (tmp_path / name).touch()
    assert [path.name for path in sorted(tmp_path.iterdir()) if is_unfinished(path)] == [
        ".file.tmp", ".folder.tmp", ".link.tmp",
    ]  # fmt: skip
    remove_unfinished(tmp_path)
    assert names(tmp_path) == [".hidden", ".lock", "file.tmp"]


def test_what_is_discarded_but_cannot_be_removed_is_unfinished_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "folder").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        discard(tmp_path / "folder")
    (left,) = tmp_path.iterdir()
    assert is_unfinished(left)
    remove_unfinished(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("before", [[], ["old"]])
def test_a_finished_folder_takes_its_name_whatever_had_it(
    tmp_path: Path, before: list[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in before:
        (out / name).touch()
    with staged(out) as folder:
        (folder / "new").touch()
        replace(folder, out)
    assert (names(tmp_path), names(out)) == (["out"], ["new"])


@pytest.mark.parametrize("error", [PermissionError, KeyboardInterrupt])
def test_a_folder_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    out, rename = tmp_path / "out", Path.rename

    def refuse_the_new_one(path: Path, target: Path) -> Path:
        if target == out and path.name != "replaced":
            raise error
        return rename(path, target)

    out.mkdir()
    (out / "old").touch()
    with staged(out) as folder, monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse_the_new_one)
        with pytest.raises(error):
            replace(folder, out)
    assert (names(tmp_path), names(out)) == (["out"], ["old"])


def test_the_first_of_two_finished_folders_keeps_the_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("first", "second"):
        with staged(out) as folder:
            (folder / name).touch()
            keep_first(folder, out)
    assert (names(tmp_path), names(out)) == (["out"], ["first"])


# As on Windows.


@pytest.fixture
def held_locks_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file cannot be removed while any process holds it, as on Windows."""
    fcntl = pytest.importorskip("fcntl", reason="this system locks files in its own way")
    unlink = Path.unlink

    def unlink_unless_held(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".lock" and path.exists():
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_unless_held)


@pytest.mark.usefixtures("held_locks_stay")
@pytest.mark.parametrize("publish", [replace, keep_first])
def test_a_system_that_keeps_held_files_publishes_and_leaves_nothing(
    tmp_path: Path, publish: object
) -> None:
    out = tmp_path / "out"
    abandoned(tmp_path, HOST_NAME)
    for _ in range(2):
        with staged(out) as folder:
            (folder / "file").touch()
            publish(folder, out)
        assert (names(tmp_path), names(out)) == (["out"], ["file"])


@pytest.mark.usefixtures("held_locks_stay")
def test_a_system_that_keeps_held_files_leaves_nothing_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "out"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_removed_yet_is_found_again_by_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows removes no file that is open or mapped, and `FileLock` removes its file there."""
    release = staging.FileLock.release

    def release_as_windows_does(lock: staging.FileLock) -> None:
        release(lock)
        Path(lock.lock_file).unlink(missing_ok=True)

    with monkeypatch.context() as patch:
        patch.setattr(staging.FileLock, "release", release_as_windows_does)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with staged(tmp_path / "out") as folder:
            (folder / "mapped").touch()
    assert len(names(tmp_path)) == 2
    remove_abandoned(tmp_path)
    assert names(tmp_path) == []


def test_a_lock_that_waited_while_its_file_was_removed_is_on_a_file_with_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a killed process's folder would have no lock file, and stay for ever."""
    release = staging.FileLock.release
    at_release: list[list[str]] = []

    def note(lock: staging.FileLock) -> None:
        at_release.append(names(tmp_path))
        release(lock)

    abandoned(tmp_path, HOST_NAME)
    monkeypatch.setattr(staging.FileLock, "release", note)
    remove_abandoned(tmp_path)
    # The file was gone before the lock was released.
    assert at_release[0] == []
