"""However packing is killed, the final name is never a part of a set, and the litter goes away."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from sagan.data import PackedDataset, fingerprint_of, open_source, pack
from sagan.data.workers import available_cores
from sagan.errors import SaganError

NUM, KILLS = 700, 20


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough images for workers to be started."""
    root = tmp_path_factory.mktemp("interruption") / "set"
    rng = np.random.default_rng(0)
    for label in range(2):
        (root / str(label)).mkdir(parents=True)
        for n in range(NUM // 2):
            noise = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / str(label) / f"{n}.png")
    return root


@pytest.fixture
def start(start_python: Callable[..., Any]) -> Callable[[Path, Path, int], Any]:
    """start(source, out, size): a process that packs."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(source: Path, out: Path, size: int) -> Any:
        command = ["-m", "sagan", "data", "pack", source, out, "--size", size]
        return start_python(command, environment)

    return run


def test_killing_at_random_moments_never_leaves_wrong_content(
    images: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    whole = {
        size: pack(open_source(str(images)), tmp_path / f"{size}", size).fingerprint
        for size in (8, 12)
    }
    begun = time.monotonic()
    assert start(images, tmp_path / "timed", 8).wait() == 0
    seconds = time.monotonic() - begun
    rng = np.random.default_rng(0)
    seen = set()
    # Half of the kills are aimed at the end, where files are closed and take their names.
    moments = [*rng.uniform(0, seconds, KILLS // 2)]
    moments += [*rng.normal(0.95 * seconds, 0.1 * seconds, KILLS // 2)]
    moments[0] = 0.0  # too early to have written anything
    for number, moment in enumerate(moments):
        process = start(images, out, 8 if number % 2 else 12)
        time.sleep(max(0.0, moment))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if not out.exists():
            seen.add("nothing")
            continue
        found = PackedDataset.open(out)
        assert fingerprint_of(found) == found.fingerprint == whole[found.size]
        seen.add(str(found.size))
    assert start(images, out, 8).wait() == 0
    assert PackedDataset.open(out).fingerprint == whole[8]
    # What the killed processes left was removed by the next one.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12", "8", "out", "timed"]
    assert "nothing" in seen


@pytest.mark.skipif(available_cores() == 1, reason="on one core there are no workers")
def test_the_workers_of_a_killed_process_end_too(
    images: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    process = start(images, tmp_path / "out", 1024)
    workers: list[psutil.Process] = []
    patience = time.monotonic() + 120
    while not workers:
        assert process.poll() is None, "packing ended without workers"
        assert time.monotonic() < patience
        time.sleep(0.01)
        workers = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    patience = time.monotonic() + 30
    while any(map(is_running, workers)):
        assert time.monotonic() < patience
        time.sleep(0.05)


def is_running(process: psutil.Process) -> bool:
    """Whether a process is at work: one that has ended may stay listed as a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_disk_without_room_is_an_error_before_anything_is_decoded(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(path: Path) -> object:
        return type("usage", (), {"free": NUM * 8 * 8 * 3})

    monkeypatch.setattr("sagan.data.packing.shutil.disk_usage", usage)
    monkeypatch.setattr("sagan.data.packing.map_chunks", None)
    with pytest.raises(SaganError, match=r"takes 0\.0 GB, but the disk .* has only 0\.0 GB left"):
        pack(open_source(str(images)), tmp_path / "out", 8)
    assert list(tmp_path.iterdir()) == []
