"""A disk that cannot be written: one line, exit status 2, and the old checkpoint whole."""

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagan.data import open_source, pack
from sagan.run import checkpoint

SMALL = ["--preset", "smoke", "--set", "channels_g=8", "--set", "channels_d=8"]

# Run with a folder to mount a disk on, its size, and a packed set.
ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
from sagan import cli
from sagan.run import checkpoint

disk, size, data = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)

def train():
    sys.argv = ["sagan", "train", "--data", data, "--out", str(disk / "run"), *SMALL]
    sys.argv += ["--steps", "1000", "--set", "checkpoint_every=1", "--set", "keep_every=1"]
    try:
        cli.main()
    except SystemExit as end:
        print("status", end.code, file=sys.stderr)
    print("newest", checkpoint.latest_checkpoint(disk / "run").name, file=sys.stderr)
    print("litter", list(disk.rglob("*.tmp")), file=sys.stderr)

train()
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
train()
""".replace("SMALL", repr(SMALL))


# `sagan`, which cannot write more than so many bytes into a file, and draws no pictures.
WITH_A_LIMIT = """
import resource, sys
from sagan import cli
from sagan.training import recorder
recorder.draw_images = lambda *_: None
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
cli.main()
"""


def newest(run: Path) -> int:
    found = checkpoint.latest_checkpoint(run)
    assert found is not None
    return checkpoint.step_of(found)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EDQUOT, "Disk quota exceeded (free some of your quota)"),
        (errno.ENOSPC, "No space left on device (make room on that disk)"),
        (errno.EROFS, "Read-only file system (choose a place that can be written)"),
    ],
)
def test_a_failed_write_is_reported_in_one_line_and_loses_nothing(
    sagan, run: Path, pictures: Path, tmp_path: Path, monkeypatch, number: int, expected: str
) -> None:
    """The system call is replaced, as no machine has all of these errors."""
    own = shutil.copytree(run, tmp_path / "run")
    before = {path: path.read_bytes() for path in (own / "checkpoints").rglob("*.*")}

    def write(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.write", write)
    result = sagan("train", "--data", pictures, "--out", own, "--preset", "smoke", "--steps", 4,
                   "--set", "channels_g=8")  # fmt: skip
    monkeypatch.undo()
    assert result.status == 2
    (line,) = result.err.splitlines()
    assert line.startswith("sagan: cannot ")
    assert str(own) in line
    assert expected in line
    assert before == {path: path.read_bytes() for path in (own / "checkpoints").rglob("*.*")}
    assert newest(own) == 2


def test_a_full_disk_in_tensorboards_own_thread_is_reported_in_one_line(
    sagan, run: Path, pictures: Path, tmp_path: Path, monkeypatch
) -> None:
    own = shutil.copytree(run, tmp_path / "run")

    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", write)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # restores what main sets
    result = sagan("train", "--data", pictures, "--out", own, "--preset", "smoke", "--steps", 4,
                   "--set", "channels_g=8")  # fmt: skip
    assert result.status == 2
    (line,) = result.err.splitlines()
    assert (
        line
        == f"sagan: cannot write into '{own}': No space left on device (make room on that disk)"
    )
    assert newest(own) == 2


def test_a_file_size_limit_is_reported_in_one_line_and_loses_nothing(
    run: Path, pictures: Path, tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    """A real error of the system, in the middle of a checkpoint's file."""
    own = shutil.copytree(run, tmp_path / "run")
    largest = max(path.stat().st_size for path in (own / "checkpoints").rglob("*.safetensors"))
    settings = [*SMALL, "--steps", 4, "--set", "channels_d=16"]
    command = ["train", "--data", pictures, "--out", own, *settings]
    process = start_python(["-c", WITH_A_LIMIT, largest // 2, *command])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    (line,) = err.splitlines()
    assert "cannot save the checkpoint" in line
    assert "File too large" in line
    assert newest(own) == 2


def may_mount() -> bool:
    command = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, check=False).returncode == 0


def test_a_full_and_a_read_only_disk_are_reported_in_one_line_and_lose_nothing(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    """Real disks, mounted in a namespace."""
    if not may_mount():
        pytest.skip("NOT TESTED on a real disk: this system does not allow mounts in a namespace")
    (tmp_path / "disk").mkdir()
    # Packed elsewhere, so that the disk is for the run alone.
    data = pack(open_source(str(pictures)), tmp_path / "packed", 32).path
    command = ["unshare", "--mount", "--map-root-user", sys.executable, "-c", ON_A_SMALL_DISK]
    arguments = [str(tmp_path / "disk"), "6m", str(data)]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=300, check=True
    )
    full, *filled, read_only, status, newest_then, litter = done.stderr.splitlines()
    assert full.startswith("sagan: cannot ")
    assert "No space left on device (make room on that disk)" in full
    assert filled == ["status 2", newest_then, "litter []"]
    assert newest_then.startswith("newest step-0000000")
    assert read_only.startswith("sagan: cannot work in ")
    assert "Read-only file system (choose a place that can be written)" in read_only
    assert (status, litter) == ("status 2", "litter []")
