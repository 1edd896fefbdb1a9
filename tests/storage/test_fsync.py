"""Writing waits for the disk itself, on every system."""

import errno
import os
from pathlib import Path

import pytest

from sagan.storage.fsync import write

fcntl = pytest.importorskip("fcntl", reason="Windows does not have it")

FULL = 51  # F_FULLFSYNC of macOS


@pytest.mark.parametrize("supported", [True, False])
def test_on_macos_the_disk_is_asked_to_write_out_its_own_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, supported: bool
) -> None:
    calls: list[str] = []

    def control(descriptor: int, command: int) -> None:
        assert command == FULL
        calls.append("full")
        if not supported:  # as on a network disk
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", FULL, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    write(tmp_path / "file", b"content")
    assert calls == (["full"] if supported else ["full", "fsync"])
    assert (tmp_path / "file").read_bytes() == b"content"
