"""Whenever packing is killed, what has the final name is whole, and what is left over goes away."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.data import PackedDataset, fingerprint_of, pack
from sagan.errors import SaganError
from sagan.storage.staging import HOST, staged, sweep

NUM, KILLS = 700, 20


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough pictures for workers to be started."""
    root = tmp_path_factory.mktemp("interruption") / "set"
    generator = np.random.default_rng(0)
    for label in range(2):
        (root / str(label)).mkdir(parents=True)
        for n in range(NUM // 2):
            noise = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / str(label) / f"{n}.png")
    return root


def start(source: Path, out: Path, size: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "sagan", "data", "pack", source, out, "--size", size]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def test_killing_at_random_moments_never_leaves_wrong_content(
    pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    whole = {size: pack(str(pictures), tmp_path / f"{size}", size).fingerprint for size in (8, 12)}
    begun = time.monotonic()
    assert start(pictures, tmp_path / "timed", 8).wait() == 0
    seconds = time.monotonic() - begun
    generator = np.random.default_rng(0)
    seen = set()
    # Half of the kills are aimed at the end, where files are closed and take their names.
    moments = [*generator.uniform(0, seconds, KILLS // 2)]
    moments += [*generator.normal(0.95 * seconds, 0.1 * seconds, KILLS // 2)]
    moments[0] = 0.0  # whose process cannot have written anything
    for number, moment in enumerate(moments):
        process = start(pictures, out, 8 if number % 2 else 12)
        time.sleep(max(0.0, moment))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if not out.exists():
            seen.add("nothing")
            continue
        found = PackedDataset.open(out)
        assert fingerprint_of(found) == found.fingerprint == whole[found.size]
        seen.add(str(found.size))
    assert start(pictures, out, 8).wait() == 0
    assert PackedDataset.open(out).fingerprint == whole[8]
    # What the killed ones left was swept away by the next.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12", "8", "out", "timed"]
    assert "nothing" in seen


def test_the_workers_of_a_killed_process_end_too(pictures: Path, tmp_path: Path) -> None:
    process = start(pictures, tmp_path / "out", 1024)
    workers: list[str] = []
    deadline = time.monotonic() + 20
    while not workers and time.monotonic() < deadline:
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            workers += (task / "children").read_text().split()
    if not workers:
        pytest.skip("one core only")
    process.kill()
    process.communicate()
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_a_living_process_writes_is_not_swept_away(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out) as folder:
        sweep(tmp_path)
        assert folder.is_dir()
        with staged(out) as other:
            assert other != folder
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def litter(place: Path, host: str) -> Path:
    """What a process of a machine left behind; its lock."""
    name = f".out.{host}.{'0' * 32}"
    (place / f"{name}.tmp").mkdir()
    (place / f"{name}.tmp" / "images.npy").write_bytes(b"half")
    lock_file = place / f"{name}.lock"
    lock_file.touch()
    return lock_file


def test_what_another_machine_writes_is_left_alone_for_a_day(tmp_path: Path) -> None:
    lock_file = litter(tmp_path, "elsewhere")
    sweep(tmp_path)
    assert lock_file.with_suffix(".tmp").is_dir()
    yesterday = time.time() - 90_000
    os.utime(lock_file, (yesterday, yesterday))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_litter_of_packing_is_swept_away(tmp_path: Path) -> None:
    litter(tmp_path, HOST)
    mine = [".thesis.tmp", ".thesis.lock", f".other.{'0' * 32}.tmp", "poetry.lock"]
    for name in mine:
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mine)


def test_a_disk_without_room_is_told_before_anything_is_decoded(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(path: Path) -> object:
        return type("usage", (), {"free": NUM * 8 * 8 * 3})

    monkeypatch.setattr("sagan.data.packing.shutil.disk_usage", usage)
    monkeypatch.setattr("sagan.data.packing.map_chunks", None)
    with pytest.raises(SaganError, match=r"takes 0\.0 GB, and the disk .* has 0\.0 GB left"):
        pack(str(pictures), tmp_path / "out", 8)
    assert list(tmp_path.iterdir()) == []
